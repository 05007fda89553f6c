//! The streams of a relay as yamux reads and writes them, looked at on the way.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::io::{AsyncRead, AsyncWrite};
use tokio::io::ReadBuf;

use super::crumbs::Crumbs;
use crate::proxy::MAX_CONNECTIONS;

/// Streams that are open at one time, whatever the bound of connections: a relay that opens more is not ours.
const MAX_OPEN: usize = 4 * MAX_CONNECTIONS as usize;

/// The way to a relay. It breaks when either side says that the protocol is broken.
#[derive(Debug)]
pub(super) struct Transport<I, O> {
    input: I,
    output: O,
    coming: Headers,
    going: Headers,
    crumbs: Crumbs,
}

impl<I, O> Transport<I, O> {
    /// `input` is the relay's, and is written to.
    pub(super) fn new(input: I, output: O) -> Self {
        let (coming, going) = (Headers::default(), Headers::default());
        Self { input, output, coming, going, crumbs: Crumbs::default() }
    }

    pub(super) fn crumbs(&self) -> Crumbs {
        self.crumbs.clone()
    }
}

impl<I: Unpin, O: tokio::io::AsyncRead + Unpin> AsyncRead for Transport<I, O> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.crumbs.are_too_many(cx) {
            return Poll::Pending;
        }
        let this = &mut *self;
        let mut buffer = ReadBuf::new(bytes);
        ready!(Pin::new(&mut this.output).poll_read(cx, &mut buffer))?;
        let crumbs = &this.crumbs;
        this.coming.see(buffer.filled(), &mut |header| match header {
            Header { kind: Header::DATA | Header::WINDOW, opens: true, stream, .. }
                if stream % 2 == 0 || !crumbs.open(stream, MAX_OPEN) =>
            {
                Err(broken("a stream was opened that cannot be"))
            }
            Header { kind: Header::DATA, stream, length: 1.., .. } => {
                crumbs.came(stream);
                Ok(())
            }
            _ => Ok(()),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl<I: tokio::io::AsyncWrite + Unpin, O: Unpin> AsyncWrite for Transport<I, O> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.input).poll_write(cx, bytes))?;
        self.going.see(bytes.get(..written).unwrap_or_default(), &mut |header| match header.kind {
            // Yamux says it, and would go on.
            Header::GO_AWAY => Err(broken("the relay breaks the protocol")),
            _ => Ok(()),
        })?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The head of a frame, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    kind: u8,
    opens: bool,
    stream: u32,
    length: u32,
}

impl Header {
    const DATA: u8 = 0;
    const WINDOW: u8 = 1;
    const GO_AWAY: u8 = 3;
    const BYTES: usize = 12;

    fn read(bytes: [u8; Self::BYTES]) -> Self {
        let [_version, kind, _, flags, s1, s2, s3, s4, l1, l2, l3, l4] = bytes;
        let (stream, length) = (u32::from_be_bytes([s1, s2, s3, s4]), u32::from_be_bytes([l1, l2, l3, l4]));
        Self { kind, opens: flags & 1 == 1, stream, length }
    }
}

/// Finds the heads of frames in what passes by, however it is cut.
#[derive(Debug, Default)]
struct Headers {
    begun: Vec<u8>,
    body: u32,
}

impl Headers {
    fn see(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Header) -> io::Result<()>) -> io::Result<()> {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.body as usize);
            self.body -= u32::try_from(skipped).unwrap_or(self.body);
            let rest = bytes.get(skipped..).unwrap_or_default();
            let (head, rest) = rest.split_at(rest.len().min(Header::BYTES - self.begun.len()));
            self.begun.extend_from_slice(head);
            bytes = rest;
            if let Ok(whole) = <[u8; Header::BYTES]>::try_from(self.begun.as_slice()) {
                self.begun.clear();
                let header = Header::read(whole);
                self.body = if header.kind == Header::DATA { header.length } else { 0 };
                each(header)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, length: u32) -> Vec<u8> {
        let mut bytes = vec![0, kind, 0, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.resize(bytes.len() + if kind == Header::DATA { length as usize } else { 0 }, 0xff);
        bytes
    }

    proptest! {
        #[test]
        fn heads_are_found_however_they_are_cut(
            frames in proptest::collection::vec((0..4_u8, 0..4_u8, any::<u32>(), 0..200_u32), 0..20),
            cuts in proptest::collection::vec(1..40_usize, 1..20),
        ) {
            let all: Vec<u8> = frames.iter().flat_map(|&(kind, flags, id, length)| frame(kind, flags, id, length)).collect();
            let (mut headers, mut found, mut rest) = (Headers::default(), Vec::new(), all.as_slice());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*cut));
                headers.see(now, &mut |header| { found.push(header); Ok(()) }).unwrap();
                rest = later;
                if rest.is_empty() { break }
            }
            let expected: Vec<Header> = frames
                .iter()
                .map(|&(kind, flags, stream, length)| Header { kind, opens: flags & 1 == 1, stream, length })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
