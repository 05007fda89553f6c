//! An answer on its way: in pieces, in its time, and not always to its end.

use std::{io, time::Duration};

use axum::body::Body;
use futures::stream;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The most pieces of an answer.
const PIECES: usize = 200;
/// The least characters of a piece.
const PIECE_CHARS: usize = 8;
/// How long a stalled answer keeps its connection.
const STALL: Duration = Duration::from_mins(10);
/// How long the first half of a broken answer has to leave; what the server still holds when the body fails is lost.
const FLUSH: Duration = Duration::from_millis(20);

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Whole,
    /// The connection ends after half of it.
    Truncated,
    /// Nothing comes after half of it, and the connection stays.
    Stalled,
}

/// An answer in the pieces in which it is streamed.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let size = chars.len().div_ceil(PIECES).max(PIECE_CHARS);
    chars.chunks(size).map(|piece| piece.iter().collect()).collect()
}

/// A body of parts that are sent evenly over `time`. It ends early when `stop` is cancelled.
pub(super) fn body(mut parts: Vec<String>, time: Duration, ending: Ending, stop: CancellationToken) -> Body {
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX).max(1);
    if ending != Ending::Whole {
        let whole = parts.concat();
        let half = if parts.len() > 1 { parts.len() / 2 } else { 0 };
        parts.truncate(half);
        if half == 0 {
            parts.push(whole.chars().take(whole.chars().count() / 2).collect());
        }
    }
    let start = Instant::now();
    let parts = (1..).zip(parts).collect::<Vec<(u32, String)>>().into_iter();
    Body::from_stream(stream::unfold(Some(parts), move |state| {
        let stop = stop.clone();
        async move {
            let mut parts = state?;
            match parts.next() {
                Some((turn, part)) => {
                    let sent = wait(start + time / count * turn, &stop).await;
                    sent.then_some((Ok(part), Some(parts)))
                }
                None => broken_off(ending, start, &stop).await.map(|error| (Err(error), None)),
            }
        }
    }))
}

/// What comes after the last part; an error makes the server cut the connection.
async fn broken_off(ending: Ending, start: Instant, stop: &CancellationToken) -> Option<io::Error> {
    match ending {
        Ending::Whole => return None,
        Ending::Truncated => {
            wait(Instant::now() + FLUSH, stop).await;
        }
        Ending::Stalled => {
            wait(start + STALL, stop).await;
        }
    }
    Some(io::Error::new(io::ErrorKind::ConnectionAborted, "broken off on purpose"))
}

/// Waits unless it is time; says whether it was not stopped before.
pub(super) async fn wait(until: Instant, stop: &CancellationToken) -> bool {
    if until <= Instant::now() {
        return !stop.is_cancelled();
    }
    tokio::select! {
        () = sleep_until(until) => true,
        () = stop.cancelled() => false,
    }
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn pieces_are_the_text() {
        for text in [String::new(), "é".repeat(7), "ab".repeat(5_000), "😀".repeat(33)] {
            let pieces = pieces(&text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.len() <= 200 && pieces.iter().all(|piece| !piece.is_empty()));
        }
    }
}
