//! W3C Trace Context, level 1: <https://www.w3.org/TR/trace-context/>.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderValue};
use nexus_model::ExecutionId;
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt, TraceState},
};

use super::headers::{TRACEPARENT, TRACESTATE};

/// The longest `tracestate` that is passed on, in bytes; the standard asks for at least this much.
const MAX_STATE: usize = 512;

/// The caller's trace, if it sent a good `traceparent`; a bad one counts as none, as the standard says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext<'a> {
    trace_id: &'a str,
    parent: &'a str,
    flags: &'a str,
}

impl<'a> TraceContext<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        Self::parse(headers.get(TRACEPARENT)?.to_str().ok()?)
    }

    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace_id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let good = is_hex(version, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none())
            && is_hex(trace_id, 32)
            && trace_id.bytes().any(|digit| digit != b'0')
            && is_hex(parent, 16)
            && parent.bytes().any(|digit| digit != b'0')
            && is_hex(flags, 2);
        good.then_some(Self { trace_id, parent, flags })
    }
}

/// The caller's trace, to which belongs what happens next; `None` if it sent none. It is passed on to models, whether or not
/// anything is exported from here.
pub(crate) fn remote(headers: &HeaderMap) -> Option<Context> {
    let sent = TraceContext::of(headers)?;
    let state = headers.get(TRACESTATE).and_then(|value| value.to_str().ok());
    let state = state.filter(|state| state.len() <= MAX_STATE).and_then(|state| TraceState::from_str(state).ok());
    let span = SpanContext::new(
        TraceId::from_hex(sent.trace_id).ok()?,
        SpanId::from_hex(sent.parent).ok()?,
        TraceFlags::new(u8::from_str_radix(sent.flags, 16).ok()?),
        true,
        state.unwrap_or_default(),
    );
    Some(Context::new().with_remote_span_context(span))
}

/// The answer's `traceparent` if the present request has a span of its own that is exported.
pub(crate) fn exported() -> Option<HeaderValue> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        let own = span.is_valid() && !span.is_remote();
        let text = || format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8());
        own.then(|| HeaderValue::from_str(&text()).ok()).flatten()
    })
}

/// The answer's `traceparent` otherwise: the caller's trace, or one of the execution's own, and the execution as its span.
pub(crate) fn continued(incoming: Option<TraceContext<'_>>, execution: ExecutionId) -> Option<HeaderValue> {
    let own = execution.0.as_simple().to_string();
    let (trace_id, flags) = incoming.map_or((own.as_str(), "00"), |context| (context.trace_id, context.flags));
    HeaderValue::from_str(&format!("00-{trace_id}-{}-{flags}", &own[16..])).ok()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{TraceContext, continued};

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_goes_on() {
        let id = "0197a1b2-1111-7222-8333-444455556666".parse().unwrap();
        let answer = continued(TraceContext::parse(GOOD), id).unwrap();
        assert_eq!(answer.to_str().unwrap(), "00-4bf92f3577b34da6a3ce929d0e0e4736-8333444455556666-01");
        let answer = continued(None, id).unwrap();
        assert_eq!(answer.to_str().unwrap(), "00-0197a1b2111172228333444455556666-8333444455556666-00");
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        assert!(TraceContext::parse(&format!("01{}-more", &GOOD[2..])).is_some());
        assert!(TraceContext::parse(&format!("{GOOD}-more")).is_none());
    }

    #[test]
    fn a_bad_one_is_none() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
