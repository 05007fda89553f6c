//! Problem details (RFC 9457): what every error answer of this server is.

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use nexus_core::RateState;
use nexus_model::ExecutionId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{apps::FaultView, headers, rate};

/// One place where a value breaks its schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ViolationView {
    /// JSON Pointer (RFC 6901) into the value; empty for the value itself.
    #[schema(example = "/text")]
    pub path: String,
    /// What is wrong there.
    #[schema(example = "12 is not of type \"string\"")]
    pub message: String,
}

/// An error answer by RFC 9457, of the media type `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:nexus:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:nexus:problem:invalid_input")]
    pub kind: String,
    /// The kind of problem, for people.
    #[schema(example = "The input does not satisfy the operation's schema")]
    pub title: Cow<'static, str>,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The execution, where one was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "/v1/executions/0197a1b2-0000-7000-8000-000000000000")]
    pub instance: Option<String>,
    /// A stable word for scripts.
    #[schema(example = "invalid_input")]
    pub code: Cow<'static, str>,
    /// What the caller can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where the input, or the answer, breaks its schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<ViolationView>,
    /// What is wrong with a definition, each fault with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultView>,
    /// The application's present revision, where a change named another or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Seconds to wait before another try; also the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// What only some kinds of problems tell.
    #[serde(flatten)]
    pub more: Option<Box<ProblemMore>>,
}

/// What only some kinds of problems tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemMore {
    /// What a tool said where it failed (`tool_error`), by its own schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// What a plugin would be granted and is not now (`grants_widened`), a line for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widened: Vec<String>,
    /// How the plugin's world would change (`grants_widened`), as a unified diff of WIT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wit_diff: Option<String>,
    /// The rate that was exceeded, for the headers.
    #[serde(skip)]
    pub(crate) rate: Option<RateState>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let code = code.into();
        Self {
            kind: format!("urn:nexus:problem:{code}"),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: None,
            code,
            hint: None,
            violations: Vec::new(),
            faults: Vec::new(),
            revision: None,
            retry_after: None,
            more: None,
        }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.hint = (!hint.is_empty()).then_some(hint);
        self
    }

    /// Rounded up to whole seconds, at least one.
    #[must_use]
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64);
        self
    }

    #[must_use]
    pub(crate) fn execution(mut self, id: Option<ExecutionId>) -> Self {
        self.instance = id.map(|id| format!("/v1/executions/{id}"));
        self
    }

    /// As [`Problem::execution`], for a call that is not kept as an execution: the log tells of it.
    #[must_use]
    pub(crate) fn logged(mut self, id: Option<ExecutionId>) -> Self {
        self.instance = id.map(|id| format!("/v1/logs?execution={id}"));
        self
    }

    /// As the JSON text that is sent.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| r#"{"type":"about:blank","status":500}"#.to_owned())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == 401 {
            fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"nexus\""));
        }
        if let Some(seconds) = self.retry_after {
            fields.insert(header::RETRY_AFTER, seconds.into());
        }
        rate::tell(fields, self.more.as_ref().and_then(|more| more.rate.as_ref()));
        if let Some(id) = self.instance.as_deref().and_then(|instance| instance.rsplit(['/', '=']).next())
            && let Ok(id) = HeaderValue::from_str(id)
        {
            fields.insert(headers::EXECUTION, id);
        }
        response
    }
}
