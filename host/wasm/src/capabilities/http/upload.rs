//! The body of a request, within its bounds.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

/// The largest body of a request, in bytes.
const BODY_BYTES: u64 = 32 << 20;

/// The body of a request as it is sent. Trailers are left out: a field that the host adds must not come again in them.
pub(super) struct Upload {
    body: WasiBody,
    sent: u64,
}

impl Upload {
    pub(super) fn new(body: WasiBody) -> Self {
        Self { body, sent: 0 }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| match frame {
            Some(Ok(frame)) => {
                let data = frame.into_data().ok()?;
                self.sent += data.len() as u64;
                Some(if self.sent > BODY_BYTES {
                    Err(Error::HttpRequestBodySize(Some(BODY_BYTES)))
                } else {
                    Ok(Frame::data(data))
                })
            }
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
