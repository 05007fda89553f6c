//! What an agent does next: a function of what it has heard.

use std::{collections::BTreeMap, time::Duration};

use nexus_model::{ChatMessage, Reply, ToolRequest, Usage};
use nexus_workflow::{AgentStart, AgentTurn, ErrorType, Moment, WorkflowError};
use serde_json::Value;

use super::{
    conversation::{Conversation, bytes},
    tools::{Tools, Wanted, in_words},
};

/// How often a turn that fails for the moment is made again.
const AGAIN: u32 = 3;
/// The status of an error that says that an agent had to stop.
const STOPPED: u16 = 429;
/// The status of an error that says that there is no more money.
const UNPAID: u16 = 402;

const LAST: &str =
    "This is your last turn, and no tool can be used any more. Give your answer now, with what you know.";

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// A turn of the model, for the first time or once more.
    Turn { attempt: u32, turn: AgentTurn },
    /// A turn that summarises the conversation so far.
    Summary(AgentTurn),
    /// A wait before the turn is made again.
    Wait { attempt: u32, until: Moment },
    /// Tools to be used, by the places of the calls in the reply.
    Tools(Vec<(usize, Value)>),
    /// Nothing: this is how it ended.
    End(Result<Value, WorkflowError>),
}

/// What came of what was to be done.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    Turn(Result<Reply, WorkflowError>),
    Summary(Result<Reply, WorkflowError>),
    Waited,
    Tools(Vec<(usize, Result<Value, WorkflowError>)>),
}

/// Where an agent is.
#[derive(Debug, Clone)]
enum Phase {
    Turn { attempt: u32 },
    Summary(Vec<ChatMessage>),
    Wait { attempt: u32, until: Moment },
    Tools { calls: Vec<ToolRequest>, wanted: Vec<Wanted> },
    End(Result<Value, WorkflowError>),
}

/// An agent: what it was told to do, and what it has heard. It ends within `limits.steps` turns, each with at most one summary,
/// [`AGAIN`] further attempts, and a bounded number of tools.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    start: AgentStart,
    conversation: Conversation,
    tools: Tools,
    begun: Moment,
    clock: Moment,
    turn: u32,
    /// Why this turn is the last, if it is.
    last: Option<String>,
    used: Usage,
    /// What the last turn used.
    before: Usage,
    phase: Phase,
}

impl Agent {
    pub(super) fn new(mut start: AgentStart, begun: Moment) -> Self {
        let mut agent = Self {
            conversation: Conversation::new(std::mem::take(&mut start.messages)),
            tools: Tools::new(&start.tools),
            start,
            begun,
            clock: begun,
            turn: 0,
            last: None,
            used: Usage::NONE,
            before: Usage::NONE,
            phase: Phase::Turn { attempt: 0 },
        };
        agent.phase = agent.begin();
        agent
    }

    /// The number of the turn that it is at.
    pub(super) fn turn(&self) -> u32 {
        self.turn
    }

    /// What is to be done.
    pub(super) fn next(&self) -> Next {
        match &self.phase {
            Phase::Turn { attempt } => Next::Turn { attempt: *attempt, turn: self.asked() },
            Phase::Summary(messages) => Next::Summary(AgentTurn {
                model: self.start.model.clone(),
                messages: messages.clone(),
                tools: Vec::new(),
                parameters: self.start.parameters,
                output: None,
            }),
            Phase::Wait { attempt, until } => Next::Wait { attempt: *attempt, until: *until },
            Phase::Tools { wanted, .. } => {
                let uses = wanted.iter().enumerate();
                Next::Tools(uses.filter_map(|(index, wanted)| Some((index, wanted.clone().ok()?))).collect())
            }
            Phase::End(end) => Next::End(end.clone()),
        }
    }

    /// Goes on with what came of [`Self::next`], at a moment that is not before the last.
    pub(super) fn hear(&mut self, at: Moment, heard: Heard) {
        self.clock = self.clock.max(at);
        let phase = std::mem::replace(&mut self.phase, Phase::End(Err(stopped("it heard what it did not ask"))));
        self.phase = match (phase, heard) {
            (Phase::Turn { attempt }, Heard::Turn(Ok(reply))) => self.replied(attempt, reply),
            (Phase::Turn { attempt }, Heard::Turn(Err(error))) if is_passing(&error) => self.again(attempt, error),
            (Phase::Turn { .. }, Heard::Turn(Err(error))) => Phase::End(Err(error)),
            (Phase::Summary(_), Heard::Summary(Err(error))) if error.status == UNPAID => Phase::End(Err(error)),
            (Phase::Summary(_), Heard::Summary(summary)) => {
                let summary = summary.ok().map(|reply| {
                    self.used = self.used + reply.usage;
                    reply.content
                });
                self.conversation.summarised(summary.as_deref(), self.start.context_tokens);
                // It took time and tokens, too.
                self.over().map_or(Phase::Turn { attempt: 0 }, |why| Phase::End(Err(why)))
            }
            (Phase::Wait { attempt, .. }, Heard::Waited) => Phase::Turn { attempt },
            (Phase::Tools { calls, wanted }, Heard::Tools(results)) => self.used_tools(&calls, wanted, results),
            (phase, _) => phase,
        };
    }

    /// The error of an agent whose time is over.
    pub(super) fn late(&self) -> WorkflowError {
        let most = self.start.limits.time_ms.unwrap_or_default();
        stopped(&format!("its time of {most} ms is over, after {}", turns(self.turn)))
    }

    fn asked(&self) -> AgentTurn {
        let tools = if self.last.is_some() { Vec::new() } else { self.start.tools.values().cloned().collect() };
        AgentTurn {
            model: self.start.model.clone(),
            messages: self.conversation.messages().to_vec(),
            tools,
            parameters: self.start.parameters,
            output: self.start.output.clone(),
        }
    }

    /// Begins a turn, if there may be one.
    fn begin(&mut self) -> Phase {
        if let Some(why) = self.over() {
            return Phase::End(Err(why));
        }
        self.last = self.last_because();
        if self.last.is_some() && !self.tools.is_empty() {
            self.conversation.push(ChatMessage::User { content: LAST.to_owned() });
        }
        let context = self.start.context_tokens;
        let long = self.conversation.tokens() > context;
        match long.then(|| self.conversation.to_summarise(context)).flatten() {
            Some(messages) => Phase::Summary(messages),
            None => Phase::Turn { attempt: 0 },
        }
    }

    /// Why there may be no turn.
    fn over(&self) -> Option<WorkflowError> {
        let limits = &self.start.limits;
        if limits.time_ms.is_some_and(|most| self.clock >= self.begun.plus(Duration::from_millis(most))) {
            return Some(self.late());
        }
        if let Some(most) = limits.tokens
            && tokens(self.used) >= most
        {
            return Some(stopped(&format!("it may use {most} tokens, and used {}", tokens(self.used))));
        }
        match (limits.cost, self.used.cost) {
            (Some(most), None) => {
                Some(stopped(&format!("it may cost {most}, and what it costs is not known: its model has no price")))
            }
            (Some(most), Some(cost)) if cost >= most => Some(stopped(&format!("it may cost {most}, and cost {cost}"))),
            _ if self.turn >= limits.steps => Some(stopped(&format!("it may take {}", turns(limits.steps)))),
            _ => None,
        }
    }

    /// Why the turn that begins is the last: it is, or another like the one before would leave nothing for one more.
    fn last_because(&self) -> Option<String> {
        let limits = &self.start.limits;
        if self.turn.saturating_add(1) >= limits.steps {
            return Some(format!("it may take {}, and has no answer after that", turns(limits.steps)));
        }
        let after = self.used + self.before + self.before;
        if let Some(most) = limits.tokens
            && self.turn > 0
            && tokens(after) > most
        {
            return Some(format!("it may use {most} tokens, and has no answer after {}", tokens(self.used)));
        }
        let most = limits.cost.filter(|most| self.turn > 0 && after.cost.is_some_and(|cost| cost > *most))?;
        Some(format!("it may cost {most}, and has no answer after {}", self.used.cost.unwrap_or_default()))
    }

    /// A turn that failed for the moment is made again, later each time.
    fn again(&self, attempt: u32, error: WorkflowError) -> Phase {
        if attempt >= AGAIN {
            return Phase::End(Err(error));
        }
        let pause = Duration::from_secs(1 << (2 * attempt));
        Phase::Wait { attempt: attempt + 1, until: self.clock.plus(pause) }
    }

    fn replied(&mut self, attempt: u32, reply: Reply) -> Phase {
        let Reply { content, value, mut tool_calls, usage, .. } = reply;
        self.used = self.used + usage;
        if tool_calls.is_empty() {
            return match (value, &self.start.output) {
                (Some(value), _) => Phase::End(Ok(value)),
                (None, None) if !content.trim().is_empty() => Phase::End(Ok(Value::String(content))),
                (None, _) => {
                    self.again(attempt, WorkflowError::new(ErrorType::Communication, "the model says nothing"))
                }
            };
        }
        if let Some(why) = &self.last {
            return Phase::End(Err(stopped(why)));
        }
        let more = tool_calls.len();
        let mut wanted = self.tools.wanted(self.turn, &mut tool_calls);
        let more = more.saturating_sub(tool_calls.len());
        if let Some(last) = wanted.last_mut().filter(|_| more > 0) {
            *last = Err(format!("this and {more} further tools are too many at one time: want them in another turn"));
        }
        let calls = tool_calls.clone();
        self.conversation.push(ChatMessage::Assistant { content, tool_calls });
        self.conversation.counted(&usage);
        self.before = usage;
        Phase::Tools { calls, wanted }
    }

    fn used_tools(
        &mut self,
        calls: &[ToolRequest],
        wanted: Vec<Wanted>,
        results: Vec<(usize, Result<Value, WorkflowError>)>,
    ) -> Phase {
        let mut results: BTreeMap<usize, Result<Value, WorkflowError>> = results.into_iter().collect();
        // All results of a turn have half of the context.
        let (share, room) = (calls.len(), bytes(self.start.context_tokens / 2));
        for (index, (call, wanted)) in calls.iter().zip(wanted).enumerate() {
            let result = match (wanted, results.remove(&index)) {
                (Err(why), _) => Err(why),
                (Ok(_), Some(result)) => result.map_err(|error| in_words(&error)),
                (Ok(_), None) => Err("it was not used".to_owned()),
            };
            let told = self.tools.told(call, result, share, room);
            self.conversation.push(told);
        }
        self.turn = self.turn.saturating_add(1);
        self.begin()
    }
}

fn turns(count: u32) -> String {
    if count == 1 { "1 turn".to_owned() } else { format!("{count} turns") }
}

fn tokens(usage: Usage) -> u64 {
    usage.input_tokens.saturating_add(usage.output_tokens)
}

/// Whether the same turn may well go well later: limits and failures of the model's provider, and an answer that broke off.
fn is_passing(error: &WorkflowError) -> bool {
    matches!(error.status, 429 | 502 | 503 | 504)
}

fn stopped(why: &str) -> WorkflowError {
    WorkflowError::new(ErrorType::Runtime, format!("the agent had to stop: {why}")).with_status(STOPPED)
}
