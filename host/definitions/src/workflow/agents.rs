//! What tasks `call: agent` say.

use std::time::Duration;

use nexus_model::AgentTask;
use nexus_workflow::{AgentLimits, Task, Template};
use serde_json::Value;

use super::{Reader, Said, place, said};
use crate::{
    app::nano_usd,
    duration,
    explain::type_of,
    fault::{FaultCode, Finding, quoted},
    nearest::{listed, nearest},
};

/// The longest that an agent may work.
const LONGEST: Duration = Duration::from_hours(24);
/// Tokens that a conversation may have before its beginning is summarised.
const CONTEXT_TOKENS: std::ops::RangeInclusive<u64> = 1_000..=10_000_000;

impl Reader<'_, '_> {
    /// What files an agent names, read. What it says without expressions is checked.
    pub(super) fn agent(&mut self, task: &Task, with: &Template) -> AgentTask {
        let model = self.model(task, with);
        let prompt = self.prompt(task, with);
        let own = self.output(task, with);
        let is_said = |name: &str| !matches!(said(with, name), Said::Nothing);
        if model.is_none() && !is_said("model") && !is_said("prompt") {
            let finding = Finding::new(FaultCode::MissingField, "nothing says which model the agent is");
            self.at_key(&task.pointer, finding.expected("`model`, or a `prompt`, which has one"));
        }
        if !["instructions", "prompt", "input"].into_iter().any(is_said) {
            let finding = Finding::new(FaultCode::MissingField, "nothing says what the agent is to do");
            self.at_key(&task.pointer, finding.expected("`instructions`, `prompt` or `input`"));
        }
        for (name, expected, holds) in [
            ("instructions", "text", Value::is_string as fn(&Value) -> bool),
            ("memory", "true or false", Value::is_boolean),
            ("tools", "a list of names and patterns", is_texts),
        ] {
            if let Said::Literal(value) = said(with, name)
                && !holds(value)
            {
                self.wrong_type(&place(task, name), value, expected);
            }
        }
        if let Said::Literal(value) = said(with, "context_tokens")
            && !value.as_u64().is_some_and(|tokens| CONTEXT_TOKENS.contains(&tokens))
        {
            let finding = Finding::new(FaultCode::OutOfRange, "`context_tokens` is not in range");
            let expected = format!("a whole number from {} to {}", CONTEXT_TOKENS.start(), CONTEXT_TOKENS.end());
            self.at_value(&place(task, "context_tokens"), finding.expected(expected));
        }
        if let Said::Literal(value) = said(with, "limits")
            && let Err(fault) = agent_limits(value)
        {
            let code = if fault.unknown { FaultCode::UnknownField } else { FaultCode::OutOfRange };
            let finding = Finding::new(code, fault.message).expected(fault.expected).nearest(fault.nearest);
            self.at_value(&format!("{}{}", place(task, "limits"), fault.path), finding);
        }
        let answer = prompt.as_ref().and_then(|file| file.answer.clone());
        AgentTask { prompt: prompt.map(|file| file.prompt), output: own.or(answer) }
    }
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
}

/// What is wrong with an agent's limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; expected {expected}")]
pub struct LimitFault {
    /// The limit, as a JSON Pointer; empty for all of them.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
    nearest: Option<String>,
    unknown: bool,
}

/// Reads the `limits` of a task `call: agent`: `steps` (1 to 200), `tokens`, `cost_usd`, `time` (`500ms`, `30s`, `5m`, `2h`; up
/// to 24 hours) and `parallel` (1 to 64).
///
/// # Errors
/// The first that is not known, or not in range.
pub fn agent_limits(said: &Value) -> Result<AgentLimits, LimitFault> {
    const KNOWN: [&str; 5] = ["cost_usd", "parallel", "steps", "time", "tokens"];
    let wrong = |name: &str, message: String, expected: &str| LimitFault {
        path: if name.is_empty() { String::new() } else { crate::tree::join("", name) },
        message,
        expected: expected.to_owned(),
        nearest: nearest(name, KNOWN).filter(|_| !KNOWN.contains(&name)),
        unknown: !name.is_empty() && !KNOWN.contains(&name),
    };
    let Some(fields) = said.as_object() else {
        return Err(wrong("", format!("`limits` is {}", type_of(said)), "a mapping"));
    };
    let mut limits = AgentLimits::default();
    for (name, value) in fields {
        let whole = |most: u64| value.as_u64().filter(|number| (1..=most).contains(number));
        let small = |most: u32| whole(most.into()).and_then(|number| u32::try_from(number).ok());
        let out = |expected: &str| wrong(name, format!("{} is {}", quoted(name), short(value)), expected);
        match name.as_str() {
            "steps" => limits.steps = small(200).ok_or_else(|| out("a whole number from 1 to 200"))?,
            "parallel" => limits.parallel = small(64).ok_or_else(|| out("a whole number from 1 to 64"))?,
            "tokens" => {
                let tokens = whole(1_000_000_000_000);
                limits.tokens = Some(tokens.ok_or_else(|| out("a whole number from 1 to 1000000000000"))?);
            }
            "cost_usd" => {
                let usd = value.as_f64().filter(|usd| *usd > 0.0 && *usd <= 1e6);
                limits.cost = Some(nano_usd(usd.ok_or_else(|| out("a number over 0 and at most 1000000"))?));
            }
            "time" => {
                let time = value.as_str().and_then(|text| duration::up_to(text, LONGEST));
                let time = time.ok_or_else(|| out("a duration such as `30s`, `5m` or `2h`, of at most 24 hours"))?;
                limits.time_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            }
            unknown => {
                return Err(wrong(unknown, format!("unknown field {}", quoted(unknown)), &listed(KNOWN)));
            }
        }
    }
    Ok(limits)
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(_) | Value::Object(_) => type_of(value).to_owned(),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use nexus_model::NanoUsd;
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_read_and_refused_by_name() {
        let read = agent_limits(&json!({ "steps": 5, "tokens": 100, "cost_usd": 0.25, "time": "2h", "parallel": 2 }));
        let wanted = AgentLimits {
            steps: 5,
            tokens: Some(100),
            cost: Some(NanoUsd(250_000_000)),
            time_ms: Some(7_200_000),
            parallel: 2,
        };
        assert_eq!(read, Ok(wanted));
        assert_eq!(agent_limits(&json!({})), Ok(AgentLimits::default()));
        for (said, path) in [
            (json!({ "steps": 0 }), "/steps"),
            (json!({ "steps": 201 }), "/steps"),
            (json!({ "parallel": 1.5 }), "/parallel"),
            (json!({ "tokens": "many" }), "/tokens"),
            (json!({ "cost_usd": 0 }), "/cost_usd"),
            (json!({ "time": "25h" }), "/time"),
            (json!({ "time": 5 }), "/time"),
            (json!({ "step": 5 }), "/step"),
            (json!([]), ""),
        ] {
            assert_eq!(agent_limits(&said).unwrap_err().path, path, "{said}");
        }
        assert_eq!(agent_limits(&json!({ "step": 5 })).unwrap_err().nearest.as_deref(), Some("steps"));
    }
}
