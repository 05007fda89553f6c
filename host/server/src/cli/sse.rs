//! Reads server-sent events, as much of them as this server sends: `event` and `data` on one line each.

use serde_json::Value;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Where to go on after it, if the server says.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// Events from chunks that may be cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Events(Vec<u8>);

impl Events {
    /// The events that are complete with this chunk.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Vec<Event> {
        self.0.extend_from_slice(chunk);
        let mut events = Vec::new();
        while let Some(end) = self.0.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.0.drain(..end + 2).collect();
            events.extend(event(&String::from_utf8_lossy(&block)));
        }
        events
    }
}

fn event(block: &str) -> Option<Event> {
    let field =
        |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim_start));
    let (name, data) = (field("event")?.to_owned(), serde_json::from_str(field("data")?).ok()?);
    Some(Event { id: field("id").map(str::to_owned), name, data })
}

#[cfg(test)]
mod tests {
    use super::Events;

    #[test]
    fn chunks_may_be_cut_anywhere() {
        let text = ": hello\n\nevent: token\ndata: {\"text\":\"ü\"}\n\nevent: answer\ndata: {}\n\n";
        for size in 1..text.len() {
            let mut events = Events::default();
            let names: Vec<_> =
                text.as_bytes().chunks(size).flat_map(|chunk| events.feed(chunk)).map(|event| event.name).collect();
            assert_eq!(names, ["token", "answer"], "in chunks of {size}");
        }
    }
}
