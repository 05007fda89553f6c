//! From what went wrong with a call to the kinds that Nexus names. Pure.

use std::{error::Error as StdError, time::Duration};

use nexus_model::ModelErrorKind;
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::answer::cut;

/// The longest detail, in characters.
pub(crate) const MAX_DETAIL: usize = 500;
/// The longest wait that a provider is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ModelErrorKind,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(kind: ModelErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The detail in one line of at most 500 characters, without the secret, in case that a provider repeats it.
    pub(crate) fn shown(&self, secret: Option<&str>) -> String {
        let mut detail = self.detail.clone();
        if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
            detail = detail.replace(secret, "[redacted]");
        }
        let line = detail.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
        cut(&line.collect::<Vec<_>>().join(" "), MAX_DETAIL - 1)
    }
}

/// What it means that a call failed without an answer, or within it.
pub(crate) fn broken(error: &reqwest::Error) -> Failure {
    let before_answer = error.is_connect() || error.is_request() || error.is_builder();
    let kind = if before_answer { ModelErrorKind::Unreachable } else { ModelErrorKind::Truncated };
    Failure::new(kind, innermost(error))
}

/// What it means that there was no whole answer in time.
pub(crate) fn late(time: Duration) -> Failure {
    Failure::new(ModelErrorKind::Timeout, format!("no whole answer within {time:?}"))
}

/// The last cause, which says the most and does not repeat the URL.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// What a status other than 2xx means.
pub(crate) fn refused(status: StatusCode, headers: &HeaderMap, body: &str, now: OffsetDateTime) -> Failure {
    let kind = match status.as_u16() {
        // What providers write about a wrong key repeats parts of it: only their code word is kept.
        401 | 403 => return Failure::new(ModelErrorKind::Unauthorized, format!("HTTP {status}{}", code_word(body))),
        429 => ModelErrorKind::RateLimited { retry_after: retry_after(headers, now) },
        status @ 500.. => ModelErrorKind::ProviderFailed { status },
        status => ModelErrorKind::Rejected { status },
    };
    Failure::new(kind, message(body))
}

/// An error that the provider sends within a stream that began well.
pub(crate) fn failed_midway(body: &Value) -> Failure {
    let status = ["status", "code"].iter().find_map(|field| {
        let value = body.get(field)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).and_then(|status| u16::try_from(status).ok())
    });
    let kind = match status.or_else(|| body.get("type")?.as_str().and_then(status_of)) {
        Some(401 | 403) => ModelErrorKind::Unauthorized,
        Some(429) => ModelErrorKind::RateLimited { retry_after: None },
        Some(status @ 500..=599) => ModelErrorKind::ProviderFailed { status },
        Some(status @ 400..=499) => ModelErrorKind::Rejected { status },
        _ => ModelErrorKind::ProviderFailed { status: 200 },
    };
    Failure::new(kind, text_of(body).unwrap_or("the stream reports an error").to_owned())
}

/// The status that Anthropic documents for a type of error.
fn status_of(kind: &str) -> Option<u16> {
    Some(match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "api_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => return None,
    })
}

/// `Retry-After` in both its forms (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = OffsetDateTime::parse(value, &Rfc2822).ok()?;
        (until - now).try_into().unwrap_or(Duration::ZERO)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The readable part of an error body: `error.message`, as `OpenAI`, Anthropic and most others write it, `error`, as
/// Ollama does, or the whole. What is shown of it is cut later: a key that was cut in two would not be found.
fn message(body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    parsed.as_ref().and_then(|value| text_of(value.get("error").unwrap_or(value))).unwrap_or(body).to_owned()
}

fn text_of(error: &Value) -> Option<&str> {
    error.as_str().or_else(|| error.get("message")?.as_str())
}

/// ` (invalid_api_key)` when the body has such a code.
fn code_word(body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let error = parsed.as_ref().and_then(|value| value.get("error"));
    let code = ["code", "type"].iter().find_map(|field| error?.get(field)?.as_str());
    match code {
        Some(code) if code.len() <= 40 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
            format!(" ({code})")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexus_model::ModelErrorKind;
    use reqwest::header::{HeaderMap, RETRY_AFTER};
    use serde_json::json;
    use time::macros::datetime;

    use super::{Failure, MAX_DETAIL, code_word, failed_midway, message, retry_after};

    #[test]
    fn retry_after_has_two_forms() {
        let now = datetime!(2026-03-01 12:00:00 UTC);
        for (value, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 01 Mar 2026 12:00:30 GMT", Some(30)),
            ("Sun, 01 Mar 2026 11:00:00 GMT", Some(0)),
            ("999999999", Some(86_400)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn bodies_are_read_for_their_message() {
        assert_eq!(message(r#"{"error":{"message":"no such model"}}"#), "no such model");
        assert_eq!(message(r#"{"error":"busy"}"#), "busy");
        assert_eq!(message(r#"{"message":"busy"}"#), "busy");
        assert_eq!(message("<html>"), "<html>");
        assert_eq!(code_word(r#"{"error":{"message":"…sk-12","code":"invalid_api_key"}}"#), " (invalid_api_key)");
        assert_eq!(code_word(r#"{"error":{"code":"sk-12"}}"#), "");
    }

    #[test]
    fn errors_within_a_stream_have_a_kind() {
        for (body, kind) in [
            (json!({"message": "x", "code": 429}), ModelErrorKind::RateLimited { retry_after: None }),
            (json!({"message": "x", "code": "503"}), ModelErrorKind::ProviderFailed { status: 503 }),
            (json!({"message": "x", "status": 400}), ModelErrorKind::Rejected { status: 400 }),
            (json!({"message": "x", "type": "server_error"}), ModelErrorKind::ProviderFailed { status: 200 }),
            (json!({"message": "x", "type": "overloaded_error"}), ModelErrorKind::ProviderFailed { status: 529 }),
            (json!({"message": "x", "type": "rate_limit_error"}), ModelErrorKind::RateLimited { retry_after: None }),
            (json!("out of memory"), ModelErrorKind::ProviderFailed { status: 200 }),
        ] {
            assert_eq!(failed_midway(&body).kind, kind, "{body}");
        }
    }

    #[test]
    fn details_are_one_bounded_line_without_the_secret() {
        let failure = Failure::new(ModelErrorKind::Unreachable, format!("a\r\n\u{1b}[31m sk-1 {}", "x".repeat(1_000)));
        let shown = failure.shown(Some("sk-1"));
        assert!(shown.starts_with("a [31m [redacted] xxx"), "{shown}");
        assert_eq!(shown.chars().count(), 500);
        let at_the_cut = format!("{}sk-1", "x".repeat(MAX_DETAIL - 2));
        let failure = Failure::new(ModelErrorKind::ProviderFailed { status: 500 }, message(&at_the_cut));
        assert!(!failure.shown(Some("sk-1")).contains("sk"));
    }
}
