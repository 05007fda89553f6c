//! Workflows that were read.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use nexus_workflow::{ErrorType, Grants, Workflow, WorkflowError};

use crate::work::Document;

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
    /// The workflow of a document, which the host has checked before.
    pub(crate) fn get(&self, document: &Document, grants: Grants) -> Result<Arc<Workflow>, WorkflowError> {
        let key = (document.digest.clone(), [grants.container, grants.script, grants.shell]);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(workflow) = read.workflows.get(&key) {
            return Ok(Arc::clone(workflow));
        }
        let workflow = Workflow::read(&document.document, grants).map_err(|faults| {
            let named: Vec<String> = faults.iter().take(NAMED).map(ToString::to_string).collect();
            WorkflowError::new(ErrorType::Configuration, format!("the document has faults: {}", named.join("; ")))
        })?;
        let workflow = Arc::new(workflow);
        if read.order.len() >= READ
            && let Some(oldest) = read.order.pop_front()
        {
            read.workflows.remove(&oldest);
        }
        read.order.push_back(key.clone());
        read.workflows.insert(key, Arc::clone(&workflow));
        Ok(workflow)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_workflow::Grants;
    use serde_json::json;

    use super::{READ, Workflows};
    use crate::work::Document;

    fn document(n: usize) -> Document {
        let about = json!({"dsl": "1.0.3", "namespace": "test", "name": "test", "version": "1.0.0"});
        Document { digest: n.to_string(), document: json!({"document": about, "do": [{"a": {"set": {"n": n}}}]}) }
    }

    #[test]
    fn a_document_is_read_once_while_it_is_kept() {
        let (workflows, none) = (Workflows::default(), Grants::default());
        let first = workflows.get(&document(0), none).unwrap();
        assert!(Arc::ptr_eq(&first, &workflows.get(&document(0), none).unwrap()));
        // What may be granted is read anew.
        let granted = Grants { shell: true, ..none };
        assert!(!Arc::ptr_eq(&first, &workflows.get(&document(0), granted).unwrap()));
        for n in 1..=READ {
            workflows.get(&document(n), none).unwrap();
        }
        assert!(!Arc::ptr_eq(&first, &workflows.get(&document(0), none).unwrap()));
        assert_eq!(workflows.read.lock().unwrap().workflows.len(), READ);
    }

    #[test]
    fn a_faulty_document_is_an_error_that_says_where() {
        let mut faulty = document(0);
        faulty.document["do"][0]["a"] = json!({"sett": 1});
        let error = Workflows::default().get(&faulty, Grants::default()).unwrap_err();
        assert!(error.detail.unwrap().contains("/do/0/a"));
    }
}
