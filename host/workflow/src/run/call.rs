//! Calls.

use serde_json::Value;

use super::{
    http,
    kinds::Done,
    scope::{Frame, Run, State, Stop},
};
use crate::{
    document::{CallKind, Flow, HttpOutput, Transport},
    effects::{Call, Effect, HttpCall, McpTransport},
    error::ErrorType,
    step::StepId,
};

impl Run<'_> {
    pub(super) async fn call(
        &self,
        call: &CallKind,
        input: &Value,
        frame: &Frame<'_>,
        at: &StepId,
        state: &mut State,
    ) -> Done {
        let output = match call {
            CallKind::Http { method, endpoint, headers, query, body, output, redirect } => {
                let resource = self.resource(endpoint, frame, state).await?;
                let query = self.object("query", query, frame, state).await?;
                let request = HttpCall {
                    method: self.text("method", method, frame, state).await?.to_uppercase(),
                    url: resource.url,
                    headers: self.sealed_texts("headers", headers, frame, state).await?,
                    query: http::query(query).map_err(|why| Stop::error(ErrorType::Expression, why, frame.pointer))?,
                    body: match body {
                        Some(body) => Some(self.resolve(body, input, frame, state).await?),
                        None => None,
                    },
                    authentication: resource.authentication,
                    redirect: *redirect,
                };
                let shown = http::shown_headers(&request.headers);
                self.answer(Call::Http(request), shown, *output, *redirect, at, state).await?
            }
            CallKind::Openapi { document, operation, parameters, authentication, output, redirect } => {
                let call = Call::Openapi {
                    document: self.resource(document, frame, state).await?,
                    operation_id: self.text("operationId", operation, frame, state).await?,
                    parameters: self.object("parameters", parameters, frame, state).await?.into_iter().collect(),
                    authentication: self.credentials(authentication.as_deref(), frame, state).await?,
                    redirect: *redirect,
                };
                self.answer(call, Value::Object(serde_json::Map::new()), *output, *redirect, at, state).await?
            }
            CallKind::Mcp { .. } => self.mcp(call, frame, at, state).await?,
            CallKind::Nexus(function, with) => {
                let with = self.resolve(with, input, frame, state).await?;
                self.perform(at, Effect::Call(Call::Function { function: *function, with }), state).await?
            }
            CallKind::Function { name, with } => {
                let Some(function) = self.workflow.components.functions.get(name) else {
                    let detail = format!("there is no function `{name}`");
                    return Err(Stop::error(ErrorType::Configuration, detail, frame.pointer));
                };
                let with = match with {
                    Some(with) => self.resolve(with, input, frame, state).await?,
                    None => input.clone(),
                };
                // A function knows its own variables only.
                let variables = std::mem::take(&mut state.variables);
                let done = self.task(function, with, &at.function(&function.pointer), state).await;
                state.variables = variables;
                let (output, flow) = done?;
                return Ok((output, (flow == Flow::End).then_some(Flow::End)));
            }
        };
        Ok((output, None))
    }

    async fn mcp(&self, call: &CallKind, frame: &Frame<'_>, at: &StepId, state: &mut State) -> Result<Value, Stop> {
        let CallKind::Mcp { protocol_version, method, parameters, timeout, transport, options, client } = call else {
            return Err(Stop::bound("this is no call of MCP", frame.pointer));
        };
        let options = options.clone();
        let transport = match transport {
            Transport::Http(endpoint, headers) => McpTransport::Http {
                endpoint: self.resource(endpoint, frame, state).await?,
                headers: self.sealed_texts("headers", headers, frame, state).await?,
                options,
            },
            Transport::Stdio(command, arguments, environment) => {
                let listed = self.resolve(arguments, frame.data(), frame, state).await?;
                let texts = listed.as_array().map(|all| all.iter().map(super::resolve::scalar).collect());
                let Some(Some(arguments)) = texts else {
                    return Err(Stop::error(ErrorType::Expression, "`arguments` are no texts", frame.pointer));
                };
                McpTransport::Stdio {
                    command: self.text("command", command, frame, state).await?,
                    arguments,
                    environment: self.sealed_texts("environment", environment, frame, state).await?,
                    options,
                }
            }
        };
        let parameters = Value::Object(self.object("parameters", parameters, frame, state).await?);
        if let Some(timeout) = timeout {
            let after = self.duration(timeout, frame.data(), frame, state).await?;
            state.deadlines.push(state.clock.plus(after));
        }
        let (protocol_version, method, client) = (protocol_version.clone(), method.clone(), client.clone());
        let call = Call::Mcp { protocol_version, method, parameters, transport, client };
        self.perform(at, Effect::Call(call), state).await
    }

    /// Makes a request and an output of its answer.
    async fn answer(
        &self,
        call: Call,
        headers: Value,
        output: HttpOutput,
        redirect: bool,
        at: &StepId,
        state: &mut State,
    ) -> Result<Value, Stop> {
        let answer = self.perform(at, Effect::Call(call), state).await?;
        http::output(answer, &headers, output, redirect).map_err(|error| Stop::Error(error.at(at.pointer())))
    }
}
