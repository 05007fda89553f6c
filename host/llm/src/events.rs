//! Server-sent events, as far as a streamed answer needs them (<https://html.spec.whatwg.org/#parsing-an-event-stream>).

/// The most bytes of one event that are kept.
pub(crate) const MAX_EVENT_BYTES: usize = 4 << 20;

/// An event is larger than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventTooLarge;

/// Reads events from bytes as they come: in linear time, keeping one event at most.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    after_return: bool,
}

impl EventReader {
    /// The data of all events that end within `bytes`.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, EventTooLarge> {
        let mut events = Vec::new();
        for &byte in bytes {
            let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => {
                    if self.line.len() + self.data.as_ref().map_or(0, Vec::len) >= MAX_EVENT_BYTES {
                        return Err(EventTooLarge);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(events)
    }

    /// An empty line ends an event; of the others, only `data` matters.
    fn end_line(&mut self) -> Option<Vec<u8>> {
        if self.line.is_empty() {
            return self.data.take();
        }
        if let Some(value) = self.line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            }
        }
        self.line.clear();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{EventReader, EventTooLarge, MAX_EVENT_BYTES};

    fn events(text: &str, cut: usize) -> Vec<String> {
        let mut reader = EventReader::default();
        let mut events = Vec::new();
        for part in text.as_bytes().chunks(cut) {
            events.extend(reader.read(part).unwrap());
        }
        events.into_iter().map(|event| String::from_utf8(event).unwrap()).collect()
    }

    #[test]
    fn events_may_be_cut_anywhere() {
        let text = ": comment\n\ndata: {\"é\":1}\n\nevent: x\nid: 1\ndata:a\ndata:  b\n\n\n\ndata: c\r\n\r\ndata: d\r\rdata: open";
        for cut in 1..20 {
            assert_eq!(events(text, cut), ["{\"é\":1}", "a\n b", "c", "d"], "{cut}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut reader = EventReader::default();
        let part = vec![b'x'; MAX_EVENT_BYTES / 4];
        assert!((0..4).all(|_| reader.read(&part) == Ok(Vec::new())));
        assert_eq!(reader.read(b"x"), Err(EventTooLarge));

        let mut reader = EventReader::default();
        let lines = "data: xxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(1 << 12);
        let read = (0..100).map(|_| reader.read(lines.as_bytes())).find(Result::is_err);
        assert_eq!(read, Some(Err(EventTooLarge)));
    }
}
