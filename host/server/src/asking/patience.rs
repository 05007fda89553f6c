//! How long an answer is waited for, and when it is asked for again.

use std::time::{Duration, Instant};

use nexus_model::{ModelError, ModelErrorKind};

/// The longest that a model may take for one answer.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);
/// How often one question is asked while the provider limits requests.
const TRIES: u32 = 3;
/// The wait before such a try where the provider names none, and the longest.
const WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Asks, and asks again while the provider limits requests; the answer, and how long it took when it came.
pub(crate) async fn patiently<T>(ask: impl AsyncFn() -> Result<T, ModelError>) -> Result<(T, Duration), ModelError> {
    let mut turn = 1;
    loop {
        let asked = Instant::now();
        match ask().await {
            Ok(answer) => return Ok((answer, asked.elapsed())),
            Err(error) => match wait(&error.kind, turn) {
                Some(time) => tokio::time::sleep(time).await,
                None => return Err(error),
            },
        }
        turn += 1;
    }
}

/// Whether no other question to the model would fare better.
pub(crate) fn is_hopeless(kind: &ModelErrorKind) -> bool {
    matches!(kind, ModelErrorKind::UnknownModel | ModelErrorKind::MissingKey | ModelErrorKind::Unauthorized)
}

/// How long to wait before a question is asked again, after so many tries; only a provider at its limit is asked again.
fn wait(kind: &ModelErrorKind, tries: u32) -> Option<Duration> {
    match kind {
        ModelErrorKind::RateLimited { retry_after } if tries < TRIES => {
            Some(retry_after.unwrap_or(WAIT * tries).min(LONGEST_WAIT))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexus_model::ModelErrorKind;

    use super::wait;

    #[test]
    fn only_a_limit_is_waited_for_and_not_for_ever() {
        let limit =
            |seconds: Option<u64>| ModelErrorKind::RateLimited { retry_after: seconds.map(Duration::from_secs) };
        assert_eq!(wait(&limit(Some(7)), 1), Some(Duration::from_secs(7)));
        assert_eq!(wait(&limit(None), 2), Some(Duration::from_secs(10)));
        assert_eq!(wait(&limit(Some(86_400)), 1), Some(Duration::from_mins(1)));
        assert_eq!(wait(&limit(Some(1)), 3), None);
        assert_eq!(wait(&ModelErrorKind::Timeout, 1), None);
    }
}
