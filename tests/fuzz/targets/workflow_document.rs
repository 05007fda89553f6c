//! A workflow's document as JSON, or else an expression, as an author or a stranger writes them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexus_workflow::{Expression, Grants, Workflow};
use serde_json::Value;

/// Faults of one document that are told.
const FAULTS: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    let granted = Grants { container: true, script: true, shell: true };
    match serde_json::from_slice::<Value>(bytes) {
        Ok(document) => match Workflow::read(&document, granted) {
            Ok(workflow) => assert_eq!(*workflow.definition, document),
            Err(faults) => {
                assert!((1..=FAULTS).contains(&faults.len()));
                assert!(
                    faults.iter().all(|fault| fault.pointer.is_empty() || fault.pointer.starts_with('/')),
                    "{faults:?}"
                );
            }
        },
        Err(_) => {
            let Ok(text) = str::from_utf8(bytes) else { return };
            // What is read has only variables that it was given. What an expression does is not bounded here.
            if let Ok(expression) = Expression::read(text, ["context", "input"]) {
                assert!(expression.variables().iter().all(|name| ["context", "input"].contains(&name.as_str())));
            }
        }
    }
});
