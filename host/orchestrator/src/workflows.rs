//! Workflows that were read.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nexus_workflow::{ErrorType, Grants, Workflow, WorkflowError};
use serde_json::Value;

/// Workflows that stay read.
const READ: usize = 64;
/// Faults of a document that an error names.
const NAMED: usize = 3;

type Key = (String, [bool; 3]);

/// Workflows by the digests of their documents; the one that was read first goes first.
#[derive(Debug, Default)]
pub(crate) struct Workflows {
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    workflows: HashMap<Key, Arc<Workflow>>,
    order: VecDeque<Key>,
}

impl Workflows {
    /// The workflow of a document that was read.
    pub(crate) fn known(&self, digest: &str, grants: Grants) -> Option<Arc<Workflow>> {
        self.kept().workflows.get(&key(digest, grants)).cloned()
    }

    /// Reads a document, which the host has checked before, and keeps its workflow.
    pub(crate) fn read(&self, digest: &str, grants: Grants, document: &Value) -> Result<Arc<Workflow>, WorkflowError> {
        let workflow = Workflow::read(document, grants).map_err(|faults| {
            let named: Vec<String> = faults.iter().take(NAMED).map(ToString::to_string).collect();
            WorkflowError::new(ErrorType::Configuration, format!("the document has faults: {}", named.join("; ")))
        })?;
        let (workflow, key) = (Arc::new(workflow), key(digest, grants));
        let mut read = self.kept();
        if let Some(known) = read.workflows.get(&key) {
            return Ok(Arc::clone(known));
        }
        if read.order.len() >= READ
            && let Some(oldest) = read.order.pop_front()
        {
            read.workflows.remove(&oldest);
        }
        read.order.push_back(key.clone());
        read.workflows.insert(key, Arc::clone(&workflow));
        Ok(workflow)
    }

    fn kept(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(digest: &str, grants: Grants) -> Key {
    (digest.to_owned(), [grants.container, grants.script, grants.shell])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_workflow::Grants;
    use serde_json::{Value, json};

    use super::{READ, Workflows};

    fn document(n: usize) -> Value {
        let about = json!({"dsl": "1.0.3", "namespace": "test", "name": "test", "version": "1.0.0"});
        json!({"document": about, "do": [{"a": {"set": {"n": n}}}]})
    }

    #[test]
    fn a_document_is_known_while_it_is_kept() {
        let (workflows, none) = (Workflows::default(), Grants::default());
        assert!(workflows.known("0", none).is_none());
        let first = workflows.read("0", none, &document(0)).unwrap();
        assert!(Arc::ptr_eq(&first, &workflows.known("0", none).unwrap()));
        // What two asked for at the same time is kept once.
        assert!(Arc::ptr_eq(&first, &workflows.read("0", none, &document(0)).unwrap()));
        // What may be granted is read anew.
        assert!(workflows.known("0", Grants { shell: true, ..none }).is_none());
        for n in 1..=READ {
            workflows.read(&n.to_string(), none, &document(n)).unwrap();
        }
        assert!(workflows.known("0", none).is_none());
        assert_eq!(workflows.kept().workflows.len(), READ);
    }

    #[test]
    fn a_faulty_document_is_an_error_that_says_where() {
        let mut faulty = document(0);
        faulty["do"][0]["a"] = json!({"sett": 1});
        let error = Workflows::default().read("0", Grants::default(), &faulty).unwrap_err();
        assert!(error.detail.unwrap().contains("/do/0/a"));
    }
}
