//! How streams are cut into messages: server-sent events, as far as a streamed answer needs them
//! (<https://html.spec.whatwg.org/#parsing-an-event-stream>), and lines of JSON.

/// The most bytes of one message that are kept.
pub(crate) const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// How a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events; a message is an event's data.
    Events,
    /// One message a line.
    Lines,
}

/// A message is larger than [`MAX_MESSAGE_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageTooLarge;

/// Reads messages from bytes as they come: in linear time, keeping one message at most.
#[derive(Debug)]
pub(crate) struct FrameReader {
    framing: Framing,
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    after_return: bool,
}

impl FrameReader {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, line: Vec::new(), data: None, after_return: false }
    }

    /// All messages that end within `bytes`.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, MessageTooLarge> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => messages.extend(match self.framing {
                    Framing::Events => self.end_line(),
                    Framing::Lines => Some(std::mem::take(&mut self.line)).filter(|line| !line.is_empty()),
                }),
                _ => {
                    if self.line.len() + self.data.as_ref().map_or(0, Vec::len) >= MAX_MESSAGE_BYTES {
                        return Err(MessageTooLarge);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(messages)
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
    use super::{FrameReader, Framing, MAX_MESSAGE_BYTES, MessageTooLarge};

    fn messages(framing: Framing, text: &str, cut: usize) -> Vec<String> {
        let mut reader = FrameReader::new(framing);
        let parts = text.as_bytes().chunks(cut);
        let messages = parts.flat_map(|part| reader.read(part).unwrap());
        messages.map(|message| String::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn events_may_be_cut_anywhere() {
        let text = ": comment\n\ndata: {\"é\":1}\n\nevent: x\nid: 1\ndata:a\ndata:  b\n\n\n\ndata: c\r\n\r\ndata: d\r\rdata: open";
        for cut in 1..20 {
            assert_eq!(messages(Framing::Events, text, cut), ["{\"é\":1}", "a\n b", "c", "d"], "{cut}");
        }
    }

    #[test]
    fn lines_may_be_cut_anywhere() {
        for cut in 1..12 {
            assert_eq!(messages(Framing::Lines, "{\"é\":1}\n\r\n{}\r\n{open", cut), ["{\"é\":1}", "{}"], "{cut}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        for framing in [Framing::Events, Framing::Lines] {
            let mut reader = FrameReader::new(framing);
            let part = vec![b'x'; MAX_MESSAGE_BYTES / 4];
            assert!((0..4).all(|_| reader.read(&part) == Ok(Vec::new())));
            assert_eq!(reader.read(b"x"), Err(MessageTooLarge));
        }

        let mut reader = FrameReader::new(Framing::Events);
        let lines = "data: xxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(1 << 12);
        let read = (0..100).map(|_| reader.read(lines.as_bytes())).find(Result::is_err);
        assert_eq!(read, Some(Err(MessageTooLarge)));
    }
}
