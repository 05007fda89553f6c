//! What an agent begins with, and its turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use nexus_definitions::{PromptTemplate, agent_limits};
use nexus_model::{ChatMessage, ConverseRequest, ModelParameters, ModelTool, Role, sha256_hex};
use nexus_workflow::{AgentLimits, AgentStart, AgentTurn, WorkflowError};
use serde_json::Value;

use super::{
    calls::{Calling, configuration, of_model},
    drive::runtime,
    news::StepSink,
    perform::Had,
    run::Details,
};
use crate::{
    budget::{Payer, SpendError},
    memory::Document,
};

/// Tokens of a conversation, where neither the task nor the model's settings say.
const CONTEXT_TOKENS: u64 = 100_000;
/// Bytes of an application's memory that a conversation begins with.
const MAX_MEMORY: usize = 16 << 10;
/// The longest name that providers take for a tool.
const MAX_NAME: usize = 64;

impl Calling<'_> {
    /// The arguments of `call: agent`, made complete.
    pub(super) async fn agent_start(&self, with: &Value) -> Result<Value, WorkflowError> {
        let task = self.run.workflow.agents.get(&self.record.pointer);
        let prompt = task.and_then(|task| task.prompt.clone());
        let text = |field: &str| with.get(field).and_then(Value::as_str);
        let model = text("model").map(str::to_owned).or_else(|| prompt.as_ref().map(|prompt| prompt.model.clone()));
        let model = model.ok_or_else(|| configuration("the agent has neither a `model` nor a `prompt` with one"))?;
        let mut messages = Vec::new();
        if let Some(instructions) = text("instructions") {
            messages.push(ChatMessage::System { content: instructions.to_owned() });
        }
        if with.get("memory") == Some(&Value::Bool(true)) {
            messages.extend(self.remembered().await?);
        }
        let input = with.get("input").cloned().unwrap_or(Value::Null);
        if let Some(prompt) = &prompt {
            let rendered = PromptTemplate::compile(prompt).and_then(|template| template.render(&input));
            let rendered = rendered.map_err(|error| configuration(error.to_string()))?;
            messages.extend(rendered.into_iter().map(|message| match message.role {
                Role::System => ChatMessage::System { content: message.content },
                Role::User => ChatMessage::User { content: message.content },
                Role::Assistant => ChatMessage::Assistant { content: message.content, tool_calls: Vec::new() },
            }));
        } else {
            let content = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
            messages.push(ChatMessage::User { content });
        }
        let limits = match with.get("limits") {
            Some(said) => {
                agent_limits(said).map_err(|fault| configuration(format!("`limits{}`: {fault}", fault.path)))?
            }
            None => AgentLimits::default(),
        };
        let output = task.and_then(|task| task.output.as_deref().cloned());
        let start = AgentStart {
            model,
            messages,
            tools: self.tools_of(with),
            parameters: prompt.map_or_else(ModelParameters::default, |prompt| prompt.parameters),
            output: output.or_else(|| with.get("output").filter(|output| output.is_object()).cloned()),
            limits,
            context_tokens: with.get("context_tokens").and_then(Value::as_u64).unwrap_or(CONTEXT_TOKENS),
        };
        serde_json::to_value(start).map_err(|error| runtime(error.to_string()))
    }

    /// What the application is to remember, as instructions.
    async fn remembered(&self) -> Result<Option<ChatMessage>, WorkflowError> {
        let app = &self.run.application.app.name;
        let mut parts = Vec::new();
        for document in [Document::Brief, Document::Context] {
            let read = self.core.memory.read(app, &document).await;
            parts.extend(read.map_err(|error| runtime(error.to_string()))?);
        }
        let text: String = parts.join("\n\n").chars().take(MAX_MEMORY).collect();
        Ok((!text.is_empty()).then(|| ChatMessage::System { content: format!("What is known already:\n\n{text}") }))
    }

    /// The tools that the task names, of those that the application allows, as a model is told of them.
    fn tools_of(&self, with: &Value) -> BTreeMap<String, ModelTool> {
        let patterns: Vec<&str> =
            with.get("tools").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut taken = BTreeSet::new();
        crate::tools::allowed(self.core, &self.run.application)
            .into_iter()
            .filter(|tool| patterns.iter().any(|pattern| crate::tools::matches(pattern, &tool.name)))
            .map(|tool| {
                let name = told_name(&tool.name, &mut taken);
                let description = tool.description.unwrap_or_default();
                (tool.name, ModelTool { name, description, input: (*tool.input).clone() })
            })
            .collect()
    }

    /// One turn of a model.
    pub(super) async fn agent_turn(&self, turn: AgentTurn) -> Had {
        let AgentTurn { model, messages, tools, parameters, output } = turn;
        let app = &self.run.application.app;
        let request = ConverseRequest {
            model,
            messages,
            tools,
            parameters,
            schema: output.map(Arc::new),
            timeout: app.limits.timeout,
        };
        let payer = Payer { app: &app.name, budget: app.limits.budget, execution: true, spent: self.run.spent() };
        let mut sink = StepSink { news: &self.run.news, step: &self.record.step };
        match self.core.budgets.converse(payer, &request, Some(&mut sink)).await {
            Ok(mut reply) => {
                let details = Details { usage: Some(reply.usage), ..Details::default() };
                // Providers make ids up. Where a turn is done again its calls have the same, and the next turn asks the same.
                let turn = sha256_hex(&self.record.step);
                for (number, call) in reply.tool_calls.iter_mut().enumerate() {
                    call.id = format!("call_{}_{number}", &turn[..16]);
                }
                Had::of(serde_json::to_value(reply).map_err(|error| runtime(error.to_string()))).with(details)
            }
            Err(error) => {
                let details = Details { usage: Some(error.usage()), ..Details::default() };
                let error = match &error {
                    SpendError::Exceeded(exceeded) => runtime(exceeded.to_string()).with_status(402),
                    SpendError::Store(error) => runtime(error.to_string()).with_status(503),
                    SpendError::Model(error) => of_model(&error.kind, error.to_string()),
                };
                Had::of(Err(error)).with(details)
            }
        }
    }
}

/// A name that every provider takes, and that no other tool of the conversation has.
fn told_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let plain: String = name.chars().map(plain).take(MAX_NAME).collect();
    let mut told = plain.clone();
    let mut number = 2;
    while !taken.insert(told.clone()) {
        let end = format!("_{number}");
        told = plain.chars().take(MAX_NAME - end.len()).collect::<String>() + &end;
        number += 1;
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tools_are_such_as_providers_take_and_differ() {
        let mut taken = BTreeSet::new();
        assert_eq!(told_name("core.state.get", &mut taken), "core_state_get");
        assert_eq!(told_name("core.state_get", &mut taken), "core_state_get_2");
        let long = told_name(&"x".repeat(100), &mut taken);
        let other = told_name(&"x".repeat(100), &mut taken);
        assert!(long.len() == MAX_NAME && other.len() == MAX_NAME && long != other);
    }
}
