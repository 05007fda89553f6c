//! Header fields of this server's own, and those that every answer carries.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The execution's id.
pub(crate) const EXECUTION: HeaderName = HeaderName::from_static("x-nexus-execution");
/// Which path answered: `component` or `model`.
pub(crate) const PATH: HeaderName = HeaderName::from_static("x-nexus-path");
/// Why a component that was asked first did not answer.
pub(crate) const FALLBACK: HeaderName = HeaderName::from_static("x-nexus-fallback");
/// W3C Trace Context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// More of it, which is only passed on.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What tells browsers to do nothing clever with an answer.
pub(crate) fn harden(fields: &mut HeaderMap) {
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}
