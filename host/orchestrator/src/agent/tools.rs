//! What a model wants of tools, and what it is told of them.

use std::collections::{BTreeMap, HashSet};

use nexus_model::{ChatMessage, ModelTool, ToolRequest};
use nexus_workflow::WorkflowError;
use serde_json::{Value, json};

use super::conversation::cut;

/// Tools that a model may want at one time.
const AT_ONCE: usize = 64;
/// Bytes of the largest result that a model is shown.
const LARGEST: usize = 32 << 10;
/// Failures of one call, all the same and in a row, after which the model is told that they are.
const SAME: u32 = 3;

/// The tools of an agent, and what became of them.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    /// Names in Nexus by the names that the model knows.
    names: BTreeMap<String, String>,
    /// Ids of calls, which must differ within a conversation.
    ids: HashSet<String>,
    /// How a call failed the last time, and how often in this way.
    failures: BTreeMap<String, (String, u32)>,
}

/// What a reply wants: a tool to be used, or why that is not possible.
pub(super) type Wanted = Result<Value, String>;

impl Tools {
    pub(super) fn new(tools: &BTreeMap<String, ModelTool>) -> Self {
        let names = tools.iter().map(|(name, tool)| (tool.name.clone(), name.clone())).collect();
        Self { names, ids: HashSet::new(), failures: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Bounds the calls of a reply, gives each an id of its own, and says what is to be done of each.
    pub(super) fn wanted(&mut self, turn: u32, calls: &mut Vec<ToolRequest>) -> Vec<Wanted> {
        calls.truncate(AT_ONCE);
        let mut wanted = Vec::with_capacity(calls.len());
        for (index, call) in calls.iter_mut().enumerate() {
            while call.id.is_empty() || !self.ids.insert(call.id.clone()) {
                let id = format!("call_{turn}_{index}");
                call.id = if call.id.starts_with(&id) { format!("{}_", call.id) } else { id };
            }
            wanted.push(self.look_at(call));
        }
        wanted
    }

    fn look_at(&self, call: &ToolRequest) -> Wanted {
        let Some(tool) = self.names.get(&call.name) else {
            let known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            return Err(format!(
                "there is no tool `{}`: there are {}",
                cut(&call.name, 100),
                cut(&known.join(", "), 2000)
            ));
        };
        match &call.arguments {
            Value::Object(_) => Ok(json!({ "tool": tool, "arguments": call.arguments })),
            Value::String(_) => Err("the arguments are no JSON: write a JSON object by the tool's schema".to_owned()),
            _ => Err("the arguments are no JSON object: write one by the tool's schema".to_owned()),
        }
    }

    /// What the model is told of a call. `share` is how many results share the room for them, `room`, in bytes.
    pub(super) fn told(
        &mut self,
        call: &ToolRequest,
        result: Result<Value, String>,
        share: usize,
        room: usize,
    ) -> ChatMessage {
        let most = (room / share.max(1)).clamp(256, LARGEST);
        let key = format!("{} {}", call.name, call.arguments);
        let (content, failed) = match result {
            Ok(value) => {
                self.failures.remove(&key);
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (cut(&text, most), false)
            }
            Err(why) => {
                let why = cut(&why, most);
                let (last, times) = self.failures.entry(key).or_default();
                *times = if *last == why { times.saturating_add(1) } else { 1 };
                last.clone_from(&why);
                let again =
                    format!("{why}\n[this same call has failed {times} times in this same way: do something else]");
                (if *times >= SAME { again } else { why }, true)
            }
        };
        ChatMessage::Tool { id: call.id.clone(), content, failed }
    }
}

/// What an error of a tool is to a model.
pub(super) fn in_words(error: &WorkflowError) -> String {
    let what = error.detail.as_deref().or(error.title.as_deref()).unwrap_or(&error.kind);
    format!("{what} (status {})", error.status)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nexus_model::{ChatMessage, ModelTool, ToolRequest};
    use serde_json::{Value, json};

    use super::Tools;

    fn tools() -> Tools {
        let tool = ModelTool { name: "add_it".to_owned(), description: String::new(), input: json!({}) };
        Tools::new(&BTreeMap::from([("plugin/add".to_owned(), tool)]))
    }

    fn call(id: &str, name: &str, arguments: Value) -> ToolRequest {
        ToolRequest { id: id.to_owned(), name: name.to_owned(), arguments }
    }

    #[test]
    fn what_cannot_be_done_is_told_to_the_model() {
        let mut calls =
            vec![call("a", "add_it", json!({"n": 1})), call("b", "add", json!({})), call("c", "add_it", json!("{n"))];
        calls.push(call("d", "add_it", json!([1])));
        let wanted = tools().wanted(0, &mut calls);
        assert_eq!(wanted[0], Ok(json!({"tool": "plugin/add", "arguments": {"n": 1}})));
        assert!(wanted[1].as_ref().unwrap_err().contains("no tool `add`: there are add_it"));
        assert!(wanted[2].as_ref().unwrap_err().contains("no JSON:"));
        assert!(wanted[3].as_ref().unwrap_err().contains("no JSON object"));
    }

    #[test]
    fn ids_differ_and_calls_are_bounded() {
        let mut tools = tools();
        let mut calls: Vec<_> = (0..100).map(|n| call(["", "x", "call_0_2"][n % 3], "add_it", json!({}))).collect();
        assert_eq!(tools.wanted(0, &mut calls).len(), 64);
        calls.sort_by(|one, other| one.id.cmp(&other.id));
        calls.dedup_by(|one, other| one.id == other.id);
        assert_eq!(calls.len(), 64);
        let mut again = vec![call("x", "add_it", json!({}))];
        tools.wanted(1, &mut again);
        assert_eq!(again[0].id, "call_1_0");
    }

    #[test]
    fn the_same_failure_again_and_again_is_said_to_be_that() {
        let mut tools = tools();
        let call = call("a", "add_it", json!({}));
        let mut said = |result: Result<Value, String>| match tools.told(&call, result, 1, 1 << 20) {
            ChatMessage::Tool { content, .. } => content,
            other => panic!("{other:?}"),
        };
        assert_eq!([said(Err("no".to_owned())), said(Err("no".to_owned()))], ["no", "no"]);
        assert!(said(Err("no".to_owned())).contains("failed 3 times"));
        assert_eq!(
            [said(Err("never".to_owned())), said(Ok(json!("yes"))), said(Err("no".to_owned()))],
            ["never", "yes", "no"]
        );
        assert!(said(Ok(json!("x".repeat(100_000)))).len() < 33_000);
    }
}
