//! `GET /v1/audit` and `GET /v1/audit/verification`: who changed what, and who was turned away.

use axum::{Json, extract::State};
use nexus_core::{AuditFault, AuditFilter, AuditRecord, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::{
    api::{Api, Caller},
    params::{self, Asked},
    problem::Problem,
};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// One change, or one request that was turned away. Never holds a secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditRecordView {
    /// Its place in the log, from 1, without gaps.
    pub seq: u64,
    /// When it was written: before the change was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub time: OffsetDateTime,
    /// The id of the key that did it; `local` on a server without keys, `host` for the server itself, `-` for nobody
    /// that is known.
    #[schema(example = "9f86d081884c7d65")]
    pub key_id: String,
    /// The name of that key.
    pub key_name: String,
    /// What was done; `denied` and `denied.more` for requests that were turned away.
    #[schema(example = "key.create")]
    pub action: String,
    /// To what.
    pub target: String,
    /// More about it. `failed` names the record of a change that was then not made after all.
    pub detail: Value,
    /// SHA-256 of the record before, as canonical JSON (RFC 8785).
    pub previous: String,
    /// HMAC-SHA256 of this record without this field.
    pub seal: String,
}

impl From<AuditRecord> for AuditRecordView {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { seq, time, key_id, key_name, action, target, detail, previous, seal } = record;
        Self { seq, time, key_id, key_name, action, target, detail, previous, seal }
    }
}

/// Records, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    pub records: Vec<AuditRecordView>,
    /// What to pass as `before` for the next page; left out on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Which records are asked for.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Only actions that begin with this, as `key.`
    action: Option<String>,
    /// Only those of the key with this id.
    key: Option<String>,
    /// Only those of this target.
    target: Option<String>,
    /// Only those before this record.
    before: Option<u64>,
    /// At most this many, 1 to 200; 50 if left out.
    limit: Option<usize>,
}

/// Lists records of the audit log
///
/// Newest first. A page looks at no more than 10,000 records.
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit", operation_id = "list_audit",
    params(AuditQuery),
    responses(
        (status = 200, body = AuditList, description = "Newest first"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<AuditQuery>,
) -> Result<Json<AuditList>, Problem> {
    caller.require(&Scope::Admin)?;
    let limit = params::limit(query.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let AuditQuery { action, key, target, before, .. } = query;
    let filter = AuditFilter { action, key_id: key, target, before, limit };
    let records: Vec<_> = api.core.audit_log.list(&filter).await?.into_iter().map(AuditRecordView::from).collect();
    let next = (records.len() == limit).then(|| records.last().map(|record| record.seq)).flatten();
    Ok(Json(AuditList { records, next: next.filter(|seq| *seq > 1) }))
}

/// What is wrong with the log, and at which record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditFaultView {
    /// `missing`, `changed`, `reordered`, `unchained`, or `head` where the end of the log has lost its seal.
    #[schema(example = "changed")]
    pub kind: String,
    /// The record, or the place in the log where another one stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The same for people.
    #[schema(example = "record 3 was changed, or sealed under another master key")]
    pub message: String,
}

impl From<AuditFault> for AuditFaultView {
    fn from(fault: AuditFault) -> Self {
        let (kind, seq) = match fault {
            AuditFault::Missing(seq) => ("missing", Some(seq)),
            AuditFault::Changed(seq) => ("changed", Some(seq)),
            AuditFault::Reordered { place, .. } => ("reordered", Some(place)),
            AuditFault::Unchained(seq) => ("unchained", Some(seq)),
            AuditFault::Head => ("head", None),
        };
        Self { kind: kind.to_owned(), seq, message: fault.to_string() }
    }
}

/// What a verification found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerificationView {
    /// Records that are as they were written, from the first that was asked for.
    pub verified: u64,
    /// The first fault; nothing behind it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<AuditFaultView>,
    /// Where to go on; left out at the end of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Where to begin.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct VerificationQuery {
    /// The first record to check; the first of all if left out.
    from: Option<u64>,
}

/// Checks the audit log
///
/// Each record's seal, its place, and that it is chained to the one before; then that the log ends where it ended. At most
/// 100,000 records at one time; `next` says where to go on.
#[utoipa::path(
    get, path = "/v1/audit/verification", tag = "audit", operation_id = "verify_audit",
    params(VerificationQuery),
    responses(
        (status = 200, body = VerificationView, description = "Whole, or the first fault"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn verify(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<VerificationQuery>,
) -> Result<Json<VerificationView>, Problem> {
    caller.require(&Scope::Admin)?;
    let found = api.core.audit_log.verify(query.from.unwrap_or(1)).await?;
    Ok(Json(VerificationView { verified: found.verified, fault: found.fault.map(Into::into), next: found.next }))
}
