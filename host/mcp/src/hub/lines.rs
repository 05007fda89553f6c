//! What a server writes, looked at before anything of it is kept.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// Lines that are no messages and are overlooked: some programs greet.
const FORGIVEN: u32 = 16;

/// Why nothing more is read of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A message was too long.
    TooLong,
    /// It does not write messages.
    Garbage,
}

/// Passes on what is read, and ends with an error at a line that is too long, or where too many lines are no messages.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    inner: R,
    longest: usize,
    /// Of the line that is being read: its bytes so far, and whether it has begun with anything but white space.
    length: usize,
    begun: bool,
    garbage: u32,
    forgiven: u32,
    /// The line so far, where it must be JSON.
    line: Option<Vec<u8>>,
    ending: Arc<OnceLock<Ending>>,
}

impl<R> Lines<R> {
    /// Tells `ending` why it ended, if it did.
    pub(crate) fn new(inner: R, longest: usize, ending: Arc<OnceLock<Ending>>) -> Self {
        Self { inner, longest, length: 0, begun: false, garbage: 0, forgiven: FORGIVEN, line: None, ending }
    }

    /// As [`Lines::new`], and no line is overlooked that is no JSON.
    pub(crate) fn strict(inner: R, longest: usize, ending: Arc<OnceLock<Ending>>) -> Self {
        Self { forgiven: 0, line: Some(Vec::new()), ..Self::new(inner, longest, ending) }
    }

    fn look_at(&mut self, bytes: &[u8]) -> Result<(), Ending> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.begun
                && let Some(first) = part.iter().find(|byte| !byte.is_ascii_whitespace())
            {
                self.begun = true;
                self.garbage += u32::from(*first != b'{');
            }
            self.length += part.len();
            if self.garbage > self.forgiven {
                return Err(Ending::Garbage);
            }
            if self.length > self.longest {
                return Err(Ending::TooLong);
            }
            if let Some(line) = &mut self.line {
                line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = self.line.as_mut().map(std::mem::take).unwrap_or_default();
                if self.begun && self.line.is_some() && serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_err()
                {
                    return Err(Ending::Garbage);
                }
                (self.length, self.begun) = (0, false);
            }
        }
        Ok(())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Lines<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ending.get().is_some() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if let Err(ending) = self.look_at(&buffer.filled()[before..]) {
            let _ = self.ending.set(ending);
            // With an error nothing is read.
            buffer.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(text: &[u8], longest: usize) -> Option<Ending> {
        let ending = Arc::default();
        let mut lines = Lines::new(text, longest, Arc::clone(&ending));
        let read = lines.read_to_end(&mut Vec::new()).await;
        assert_eq!(read.is_err(), ending.get().is_some());
        ending.get().copied()
    }

    #[tokio::test]
    async fn messages_pass() {
        assert_eq!(read(b"{\"a\":1}\n\r\n  {}\nhello, I am a server\n{}", 24).await, None);
    }

    #[tokio::test]
    async fn a_long_line_ends_it() {
        assert_eq!(read(b"{}\n{234567}\n", 9).await, None);
        assert_eq!(read(b"{}\n{2345678}\n", 9).await, Some(Ending::TooLong));
        assert_eq!(read(&[b'{'; 100], 99).await, Some(Ending::TooLong));
    }

    #[tokio::test]
    async fn where_nothing_is_overlooked_the_first_line_that_is_no_json_ends_it() {
        for (text, ended) in [("{\"a\": [1]}\n\n{}\n", false), ("{\"a\": nonsense}\n", true), ("hello\n", true)] {
            let ending = Arc::default();
            let mut lines = Lines::strict(text.as_bytes(), 99, Arc::clone(&ending));
            assert_eq!(lines.read_to_end(&mut Vec::new()).await.is_err(), ended, "{text}");
            assert_eq!(ending.get().copied(), ended.then_some(Ending::Garbage), "{text}");
        }
    }

    #[tokio::test]
    async fn garbage_ends_it() {
        assert_eq!(read("yes\n".repeat(16).as_bytes(), 99).await, None);
        assert_eq!(read("yes\n".repeat(17).as_bytes(), 99).await, Some(Ending::Garbage));
    }
}
