//! The oracle's records, and what it commits.

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::{
    Agreement, Durability, Evidence, FileTree, JitRecord, JitState, Key, OperationRef, RuntimeStore, StoreError, Write,
};
use time::OffsetDateTime;

use super::{candidate::Candidate, decide::first_need};
use crate::registry::OperationEntry;

/// A record, and what the store held when it was loaded.
pub(crate) struct Kept {
    pub(crate) record: JitRecord,
    stored: Option<Vec<u8>>,
}

/// The record of an operation's version, or where a version starts.
pub(crate) async fn load(runtime: &dyn RuntimeStore, entry: &OperationEntry) -> Result<Kept, StoreError> {
    let stored = runtime.get(&key(&entry.reference)).await?;
    let read: Option<JitRecord> =
        match &stored {
            Some(value) => Some(serde_json::from_slice(value).map_err(|error| {
                StoreError::Unavailable(format!("the stored record of {}: {error}", entry.reference))
            })?),
            None => None,
        };
    let record = match read {
        Some(record) if record.version == entry.version => record,
        other => fresh(entry, other.map_or(0, |record| record.code)),
    };
    Ok(Kept { record, stored })
}

/// Where a version starts. The numbers of committed code go on.
fn fresh(entry: &OperationEntry, code: u32) -> JitRecord {
    JitRecord {
        version: entry.version.clone(),
        state: JitState::Profiling,
        needed_inputs: first_need(entry.operation.optimize),
        code,
        component: None,
        evidence: None,
        live: Agreement::default(),
        changed_at: OffsetDateTime::now_utc(),
    }
}

/// Keeps a record in the place of what it was loaded from; `false` where another host was faster, and nothing is changed
/// then. Durable when it returns.
pub(crate) async fn keep(
    runtime: &dyn RuntimeStore,
    operation: &OperationRef,
    kept: &mut Kept,
) -> Result<bool, StoreError> {
    let value = serde_json::to_vec(&kept.record).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let is_kept = runtime.compare_and_set(&key(operation), kept.stored.as_deref(), value.clone(), None).await?;
    if is_kept {
        kept.stored = Some(value);
    }
    Ok(is_kept)
}

/// Keeps a built component under its digest. Durable when it returns.
pub(crate) async fn keep_component(
    runtime: &dyn RuntimeStore,
    operation: &OperationRef,
    digest: &str,
    component: Vec<u8>,
) -> Result<(), StoreError> {
    let key = Key::of_app(&operation.app, "component", digest);
    runtime.write(vec![Write::Set { key, value: component, ttl: None }], Durability::Synced).await
}

/// A built component, if the store still has it.
pub(crate) async fn component(
    runtime: &dyn RuntimeStore,
    operation: &OperationRef,
    digest: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    runtime.get(&Key::of_app(&operation.app, "component", digest)).await
}

/// The folder of one piece of code on the branch `nexus/jit/{app}`.
pub(crate) fn folder(operation: &OperationRef, code: u32) -> String {
    format!("{}/v{code}", operation.operation)
}

/// The files of one commit: source and tests where there are any, and the evidence.
pub(crate) fn files(
    operation: &OperationRef,
    code: u32,
    candidate: Option<&Candidate>,
    evidence: &Evidence,
) -> Result<FileTree, serde_json::Error> {
    let folder = folder(operation, code);
    let pretty = |value: serde_json::Value| -> Result<Arc<[u8]>, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(&value)?;
        text.push('\n');
        Ok(text.into_bytes().into())
    };
    let mut files: FileTree = BTreeMap::new();
    files.insert(format!("{folder}/evidence.json"), pretty(serde_json::to_value(evidence)?)?);
    if let Some(candidate) = candidate {
        files.insert(format!("{folder}/source.js"), candidate.source.clone().into_bytes().into());
        files.insert(format!("{folder}/tests.json"), pretty(serde_json::to_value(&candidate.tests)?)?);
    }
    Ok(files)
}

fn key(operation: &OperationRef) -> Key {
    Key::of_app(&operation.app, "jit", operation.operation.as_str())
}
