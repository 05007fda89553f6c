//! Names of steps that stay the same when an execution is run again.

use std::fmt;

use nexus_model::sha256_hex;
use serde::{Deserialize, Serialize};

/// The name of one step of one execution.
///
/// It is the JSON Pointer of the task, with what makes this run of the task another than the last put in where it
/// belongs: `visit/1` when `then` leads to a task again, `item/3` for an iteration, `attempt/2` for another try, `event/5` for
/// an event that is listened to, `retry/1` for the wait before a try. These can stand only where a pointer has the name of a list,
/// so no name of a task is mistaken for one. Two steps of an execution never have the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId {
    path: String,
    pointer: String,
}

impl StepId {
    pub(crate) fn root() -> Self {
        Self { path: String::new(), pointer: String::new() }
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The JSON Pointer of the task in the document.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// A key for whoever has the effect, so that it is had once: SHA-256 over the execution's id and this name, in
    /// hexadecimal.
    pub fn idempotency_key(&self, execution: &str) -> String {
        sha256_hex(format!("{execution}\n{}", self.path).as_bytes())
    }

    pub(crate) fn list(&self, name: &str) -> Self {
        Self { path: format!("{}/{name}", self.path), pointer: format!("{}/{name}", self.pointer) }
    }

    pub(crate) fn task(&self, index: usize, name: &str, visit: u64) -> Self {
        let name = escape(name);
        let visit = if visit == 0 { String::new() } else { format!("/visit/{visit}") };
        Self {
            path: format!("{}/{index}/{name}{visit}", self.path),
            pointer: format!("{}/{index}/{name}", self.pointer),
        }
    }

    /// A part of this step, such as `turn/3`.
    #[must_use]
    pub fn mark(&self, what: &str, number: u64) -> Self {
        Self { path: format!("{}/{what}/{number}", self.path), pointer: self.pointer.clone() }
    }

    /// The task of a function that is called at this step.
    pub(crate) fn function(&self, pointer: &str) -> Self {
        Self { path: format!("{}/function", self.path), pointer: pointer.to_owned() }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// A name as a token of a JSON Pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::StepId;

    #[test]
    fn a_step_has_the_pointer_of_its_task_and_a_name_of_its_own() {
        let task = StepId::root().list("do").task(0, "a/b", 0).mark("item", 2).list("do").task(1, "c", 3);
        assert_eq!(task.pointer(), "/do/0/a~1b/do/1/c");
        assert_eq!(task.as_str(), "/do/0/a~1b/item/2/do/1/c/visit/3");
        assert_eq!(task.idempotency_key("e").len(), 64);
        assert_ne!(task.idempotency_key("e"), task.idempotency_key("f"));
    }
}
