//! The body of an answer, within its bounds.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::EgressError;

/// The body of an answer: it ends with an error where it is too large or too slow.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    largest: u64,
    read: u64,
    between: Duration,
    end: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl AnswerBody {
    pub(crate) fn new(incoming: Incoming, largest: u64, between: Duration, end: Instant) -> Self {
        let alarm = Box::pin(sleep_until(end.min(Instant::now() + between)));
        Self { incoming, largest, read: 0, between, end, alarm }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = EgressError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.alarm.as_mut().poll(cx));
            return Poll::Ready(Some(Err(EgressError::BodyTimeout)));
        };
        let now = Instant::now();
        if now >= self.end {
            return Poll::Ready(Some(Err(EgressError::BodyTimeout)));
        }
        let next = self.end.min(now + self.between);
        self.alarm.as_mut().reset(next);
        if let Some(Ok(frame)) = &frame {
            self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if self.read > self.largest {
                return Poll::Ready(Some(Err(EgressError::BodyTooLarge(self.largest))));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(EgressError::Exchange)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
