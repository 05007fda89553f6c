//! What is written down of an execution, read before it is gone on with.

use std::collections::HashMap;

use nexus_workflow::{Decision, ErrorType, Outcome, WorkflowError};
use rmcp::{RoleClient, service::Peer};
use serde_json::json;

use crate::{
    host::call,
    work::{JOURNAL, Page},
};

/// Records of one execution: an execution has at most 100,000 tasks, and few of them have more than one record.
const RECORDS: usize = 500_000;

/// Outcomes and decisions by the names of their steps.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) outcomes: HashMap<String, Outcome>,
    pub(crate) decisions: HashMap<String, Decision>,
}

impl Journal {
    /// Reads all parts.
    pub(crate) async fn read(peer: &Peer<RoleClient>, execution: &str, first: Page) -> Result<Self, WorkflowError> {
        let failed = |why: String| WorkflowError::new(ErrorType::Runtime, format!("its journal: {why}"));
        let (mut journal, mut page) = (Self::default(), first);
        loop {
            let empty = page.journal.is_empty();
            journal.add(page.journal);
            if journal.outcomes.len() + journal.decisions.len() > RECORDS {
                return Err(failed(format!("more than {RECORDS} records")));
            }
            let Some(after) = page.journal_next else { return Ok(journal) };
            if empty {
                return Err(failed("a part of it is empty and not the last".to_owned()));
            }
            let asked = json!({ "execution": execution, "after": after });
            let given = call(peer, JOURNAL, asked, None).await.map_err(|error| failed(error.to_string()))?;
            page = serde_json::from_value(given).map_err(|error| failed(error.to_string()))?;
        }
    }

    fn add(&mut self, records: Vec<crate::work::Record>) {
        for record in records {
            if let Some(decision) = record.decision {
                self.decisions.insert(record.step.clone(), decision);
            }
            if let Some(outcome) = record.outcome {
                self.outcomes.insert(record.step, outcome);
            }
        }
    }
}
