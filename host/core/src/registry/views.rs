//! What the doors show of applications.

use std::num::NonZeroU32;

use nexus_definitions::Fault;
use nexus_model::{AppName, Budget, Implementation, OperationName, Optimize, Revision, VersionHash};
use serde::Serialize;
use serde_json::Value;

use super::{ApplicationRegistry, OperationEntry, Slot};

/// Whether an application can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AppStatus {
    /// The newest revision serves.
    Active,
    /// Somebody took it out of service; calls are refused.
    Inactive,
    /// The newest revision has faults; an older one serves.
    Degraded,
    /// The only revision has faults; nothing serves.
    Error,
}

/// An application in a list.
#[derive(Debug, Clone, Serialize)]
pub struct AppSummary {
    /// Its name.
    pub name: AppName,
    /// One line for people.
    pub description: String,
    /// The revision that serves, or the faulty one where nothing does.
    pub revision: Revision,
    /// Whether it can be called.
    pub status: AppStatus,
    /// Why, where it is not simply active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The newest revision, which a change must name: not `revision` where that one has faults.
    pub newest: Revision,
    /// What is wrong with the newest revision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// The operations that serve.
    pub operations: Vec<OperationName>,
}

/// An application in full.
#[derive(Debug, Clone, Serialize)]
pub struct AppDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: AppSummary,
    /// The longest a call may take, in milliseconds.
    pub timeout_ms: u64,
    /// Calls that may run at one time.
    pub concurrency: usize,
    /// Calls that may be made in a minute, at each replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
    /// What it may spend on models; `GET /v1/apps/{app}/budget` shows it.
    #[serde(skip)]
    pub budget: Budget,
    /// The operations that serve.
    #[serde(rename = "operation_details")]
    pub operations: Vec<OperationDetail>,
}

/// An operation in full.
#[derive(Debug, Clone, Serialize)]
pub struct OperationDetail {
    /// Its name.
    pub name: OperationName,
    /// One line for people.
    pub description: String,
    /// What code and traces belong to.
    pub version: VersionHash,
    /// `prompt` or `component`.
    pub implementation: &'static str,
    /// JSON Schema of the input.
    pub input: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// When code may take over.
    pub optimize: Optimize,
    /// The number of the code that answers, if code does.
    pub active_code: Option<u32>,
}

impl ApplicationRegistry {
    /// All applications, by name.
    pub fn apps(&self) -> Vec<AppSummary> {
        self.served.load().slots.iter().map(|(name, slot)| summary(name, slot)).collect()
    }

    /// One application.
    pub fn app(&self, name: &str) -> Option<AppDetail> {
        let name: AppName = name.parse().ok()?;
        let served = self.served.load();
        let slot = served.slots.get(&name)?;
        let limits = slot.serving.as_ref().map(|app| app.app.limits).unwrap_or_default();
        Some(AppDetail {
            summary: summary(&name, slot),
            timeout_ms: u64::try_from(limits.timeout.as_millis()).unwrap_or(u64::MAX),
            concurrency: limits.concurrency,
            requests_per_minute: limits.requests_per_minute,
            budget: limits.budget,
            operations: slot
                .serving
                .iter()
                .flat_map(|app| app.operations.values())
                .map(|entry| detail(entry))
                .collect(),
        })
    }
}

fn summary(name: &AppName, slot: &Slot) -> AppSummary {
    let serving = slot.serving.as_ref();
    AppSummary {
        name: name.clone(),
        description: serving.map(|app| app.app.description.clone()).unwrap_or_default(),
        revision: serving.map_or_else(|| slot.seen.clone(), |app| app.revision.clone()),
        newest: slot.seen.clone(),
        status: status(slot),
        reason: reason(slot),
        faults: slot.faults.to_vec(),
        operations: serving
            .map(|app| app.offers().map(|entry| entry.reference.operation.clone()).collect())
            .unwrap_or_default(),
    }
}

fn status(slot: &Slot) -> AppStatus {
    match (&slot.serving, slot.faults.is_empty(), &slot.inactive) {
        (None, ..) => AppStatus::Error,
        (Some(_), _, Some(_)) => AppStatus::Inactive,
        (Some(_), true, None) => AppStatus::Active,
        (Some(_), false, None) => AppStatus::Degraded,
    }
}

fn reason(slot: &Slot) -> Option<String> {
    let faults = || {
        let first = slot.faults.first()?;
        let more = slot.faults.len() - 1;
        let others = if more == 0 { String::new() } else { format!(" and {more} more") };
        Some(format!("{}:{}:{}: {}{others}", first.file, first.line, first.column, first.message))
    };
    match status(slot) {
        AppStatus::Active => None,
        AppStatus::Inactive => slot.inactive.as_ref().map(|state| state.told()),
        AppStatus::Degraded => Some(format!("an earlier revision serves, the newest has faults: {}", faults()?)),
        AppStatus::Error => Some(format!("no revision is without faults: {}", faults()?)),
    }
}

fn detail(entry: &OperationEntry) -> OperationDetail {
    OperationDetail {
        name: entry.reference.operation.clone(),
        description: entry.operation.description.clone(),
        version: entry.version.clone(),
        implementation: match entry.operation.implementation {
            Implementation::Prompt(_) => "prompt",
            Implementation::Component { .. } => "component",
            Implementation::Worker(_) => "worker",
            Implementation::Workflow(_) => "workflow",
        },
        input: entry.operation.input.as_ref().clone(),
        output: entry.operation.output.as_ref().clone(),
        optimize: entry.operation.optimize,
        active_code: entry.code.active().map(|active| active.code),
    }
}
