//! A stream to a file that ends where the room does.

use bytes::Bytes;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::room;

/// Writes through as long as there is room.
pub(super) struct Bounded {
    inner: DynOutputStream,
    room: room::Bytes,
}

impl Bounded {
    pub(super) fn new(inner: DynOutputStream, room: room::Bytes) -> Self {
        Self { inner, room }
    }

    fn take(&self, bytes: &Bytes) -> StreamResult<()> {
        self.room.take(bytes.len() as u64).map_err(|full| StreamError::LastOperationFailed(full.into()))
    }
}

#[async_trait::async_trait]
impl Pollable for Bounded {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for Bounded {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes)?;
        self.inner.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
