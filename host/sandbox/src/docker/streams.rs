//! The attached stream of a container: standard output is handed on, standard error is kept.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bollard::{container::LogOutput, errors::Error};
use bytes::{Buf, Bytes};
use futures::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::tail::Tail;

/// Frames as the engine sends them, 32 KiB at most.
type Frames = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

/// What a container writes. A frame is taken from the engine only when the one before has been read.
pub(super) struct Demultiplexed {
    frames: Frames,
    rest: Bytes,
    complaints: Tail,
}

impl Demultiplexed {
    pub(super) fn new(frames: Frames, complaints: Tail) -> Self {
        Self { frames, rest: Bytes::new(), complaints }
    }
}

impl AsyncRead for Demultiplexed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.frames.as_mut().poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(LogOutput::StdErr { message })) => self.complaints.push(&message),
                Some(Ok(LogOutput::StdIn { .. })) => {}
                Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => self.rest = message,
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn output_and_complaints_are_kept_apart() {
        let out = |text: &'static str| Ok(LogOutput::StdOut { message: text.into() });
        let err = |text: &'static str| Ok(LogOutput::StdErr { message: text.into() });
        let frames = stream::iter([out("one "), err("oh "), out(""), err("no"), out("two")]);
        let tail = Tail::default();
        let mut reader = Demultiplexed::new(Box::pin(frames), tail.clone());
        let mut three = [0; 3];
        reader.read_exact(&mut three).await.unwrap();
        assert_eq!((&three, tail.text().as_str()), (b"one", ""));
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), tail.text().as_str()), (" two", "oh no"));
    }
}
