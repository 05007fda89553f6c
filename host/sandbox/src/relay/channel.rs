//! One connection that came over a relay.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncWrite as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use yamux::Packet;

use super::crumbs::Crumbs;

/// A stream of a relay. Dropped before it was shut down, it is reset.
#[derive(Debug)]
pub(super) struct Channel {
    stream: yamux::Stream,
    piece: Option<(Packet, usize)>,
    crumbs: Crumbs,
}

impl Channel {
    pub(super) fn new(stream: yamux::Stream, crumbs: Crumbs) -> Self {
        Self { stream, piece: None, crumbs }
    }
}

impl AsyncRead for Channel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some((piece, read)) = &mut this.piece {
                let rest = piece.as_ref().get(*read..).unwrap_or_default();
                let length = rest.len().min(buffer.remaining());
                buffer.put_slice(rest.get(..length).unwrap_or_default());
                *read += length;
                if length == rest.len() {
                    this.piece = None;
                }
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut this.stream).poll_next(cx)) {
                Some(piece) => {
                    this.piece = Some((piece?, 0));
                    this.crumbs.read(this.stream.id().val());
                }
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.crumbs.close(self.stream.id().val());
    }
}
