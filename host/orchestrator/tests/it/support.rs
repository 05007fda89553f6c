//! A host that keeps its journals in memory, behind a real server of MCP. The language model of its agents is a fake.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_model::ChatMessage;
use nexus_orchestrator::{EvaluationLimits, Evaluators, Settings, orchestrate};
use nexus_workflow::{Call, Decision, Effect, ErrorType, Failure, Moment, NexusFunction, Outcome, WorkflowError};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities, ServerConfig},
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// When executions of tests begin.
pub(crate) const BEGIN: i64 = 1_700_000_000_000;
/// How long an evaluation may take.
const EVALUATION: Duration = Duration::from_secs(6);
/// Records of a journal that go at one time.
const PAGE: usize = 3;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_orchestrator");

/// When the host answers no more, as if the sandbox had been lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaks {
    Never,
    /// Before it has the effect with this number.
    Before(usize),
    /// When it has it written down and has not said so.
    After(usize),
}

/// What is known of an execution.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    given: Value,
    journal: Vec<Value>,
    outcomes: BTreeMap<String, Outcome>,
    decisions: BTreeMap<String, Decision>,
    /// Effects in the order in which they were had.
    pub(crate) had: Vec<(String, Effect)>,
    pub(crate) finished: Vec<Value>,
    pub(crate) steps: Vec<Value>,
    /// How often it was given to a program.
    pub(crate) taken: usize,
    document: Value,
    /// How often its document was asked for.
    pub(crate) documents: usize,
}

/// Executions that a program in this process walks at one time.
pub(crate) const PARALLEL: usize = 64;

#[derive(Debug)]
pub(crate) struct World {
    queue: VecDeque<String>,
    pub(crate) executions: BTreeMap<String, Execution>,
    breaks: Breaks,
    now: i64,
    /// Which program is the one that works.
    program: u32,
    /// Effects that were asked for and not waited for to the end.
    pub(crate) cancelled: Vec<String>,
    /// Executions whose steps are answered with `cancel`.
    pub(crate) unwanted: Vec<String>,
}

/// The host. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct TestHost {
    world: Arc<Mutex<World>>,
    changed: Arc<Notify>,
}

impl TestHost {
    pub(crate) fn new() -> Self {
        let world = World {
            queue: VecDeque::new(),
            executions: BTreeMap::new(),
            breaks: Breaks::Never,
            now: BEGIN,
            program: 0,
            cancelled: Vec::new(),
            unwanted: Vec::new(),
        };
        Self { world: Arc::new(Mutex::new(world)), changed: Arc::default() }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn breaking(self, breaks: Breaks) -> Self {
        self.world().breaks = breaks;
        self
    }

    /// Has an execution of these tasks done.
    pub(crate) fn add(&self, execution: &str, tasks: &Value, input: &Value) {
        let about = json!({"dsl": "1.0.3", "namespace": "test", "name": "test", "version": "1.0.0"});
        let document = json!({"document": about, "do": tasks});
        let digest = nexus_model::sha256_hex(document.to_string().as_bytes());
        let definition = json!({
            "workflow": {"digest": digest},
            "start": {"at": BEGIN, "runtime": {"name": "nexus"}, "limits": {"steps": 5000}},
            "grants": {"container": false, "script": false, "shell": false},
        });
        self.give(execution, &definition, &document, input);
    }

    pub(crate) fn give(&self, execution: &str, definition: &Value, document: &Value, input: &Value) {
        let given = json!({"operation": "test", "definition": definition, "input": input, "deadline_unix_ms": 0});
        let mut world = self.world();
        world
            .executions
            .insert(execution.to_owned(), Execution { given, document: document.clone(), ..Execution::default() });
        world.queue.push_back(execution.to_owned());
        drop(world);
        self.changed.notify_waiters();
    }

    /// Gives what is not finished to a program again.
    pub(crate) fn again(&self) {
        let mut world = self.world();
        world.breaks = Breaks::Never;
        world.program += 1;
        let open = world.executions.iter().filter(|(_, execution)| execution.finished.is_empty());
        world.queue = open.map(|(id, _)| id.clone()).collect();
    }

    /// Waits until something holds of the world.
    pub(crate) async fn until(&self, holds: impl Fn(&World) -> bool) {
        let waited = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if holds(&self.world()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(Duration::from_mins(3), waited).await.is_err() {
            let world = self.world();
            let known = world.executions.iter().map(|(id, execution)| {
                let had: Vec<&String> = execution.had.iter().map(|(step, _)| step).collect();
                format!("{id}: given {} times, had {had:?}, finished {:?}", execution.taken, execution.finished)
            });
            panic!("it does not come to that: {}", known.collect::<Vec<_>>().join("\n"));
        }
    }

    pub(crate) async fn finished(&self, execution: &str) -> Value {
        self.until(|world| !world.executions[execution].finished.is_empty()).await;
        self.world().executions[execution].finished[0].clone()
    }

    /// The whole way of a program in this process: dropping the future is the end of it.
    pub(crate) async fn work(&self) {
        let (here, there) = tokio::io::duplex(1 << 16);
        // A machine that is busy is slow.
        let limits = EvaluationLimits { longest: EVALUATION, ..EvaluationLimits::default() };
        let settings = Settings { parallel: PARALLEL, evaluators: Evaluators::new(PROGRAM, limits) };
        let serve = async {
            let session = self.clone().serve(there).await.expect("a session");
            session.waiting().await.expect("no panic");
        };
        let ((), worked) = tokio::join!(serve, orchestrate(here, settings));
        worked.expect("a session");
    }

    /// Runs what there is to the end of an execution in a program in this process.
    pub(crate) async fn output(&self, execution: &str) -> Value {
        tokio::select! {
            () = self.work() => panic!("the program ended"),
            finished = self.finished(execution) => finished,
        }
    }

    async fn next(&self, wait_ms: u64) -> Value {
        let begun = tokio::time::Instant::now();
        let program = self.world().program;
        loop {
            let changed = self.changed.notified();
            // A program that is gone is given nothing.
            if self.world().program != program {
                return json!({});
            }
            let taken = self.world().take();
            if let Some(given) = taken {
                return given;
            }
            let left = Duration::from_millis(wait_ms).saturating_sub(begun.elapsed());
            if tokio::time::timeout(left, changed).await.is_err() {
                return json!({});
            }
        }
    }

    async fn perform(&self, asked: &Value, context: &RequestContext<RoleServer>) -> Value {
        let execution = asked["execution"].as_str().unwrap();
        let step = asked["step"].as_str().unwrap();
        let effect: Effect = serde_json::from_value(asked["effect"].clone()).expect("an effect");
        self.world().hear(asked);
        let answer = self.world().perform(execution, step, &effect, asked["deadline"].as_i64());
        self.changed.notify_waiters();
        if let Some(answer) = answer {
            return answer;
        }
        context.ct.cancelled().await;
        self.world().cancelled.push(step.to_owned());
        self.changed.notify_waiters();
        json!({"cancelled": true})
    }

    fn step(&self, asked: &Value) -> Value {
        assert!((1..=64).contains(&asked["progress"].as_array().unwrap().len()));
        let mut world = self.world();
        world.hear(asked);
        let id = asked["execution"].as_str().unwrap();
        let go = if world.unwanted.iter().any(|unwanted| unwanted == id) { "cancel" } else { "on" };
        json!({"go": go})
    }

    fn decide(&self, asked: &Value) -> Value {
        let mut world = self.world();
        let execution = world.executions.get_mut(asked["execution"].as_str().unwrap()).unwrap();
        let step = asked["step"].as_str().unwrap().to_owned();
        let decision: Decision = serde_json::from_value(asked["decision"].clone()).expect("a decision");
        let stays = *execution.decisions.entry(step.clone()).or_insert(decision);
        execution.journal.push(json!({"step": step, "decision": stays}));
        json!({"decision": stays})
    }
}

impl World {
    fn take(&mut self) -> Option<Value> {
        let id = self.queue.pop_front()?;
        let execution = self.executions.get_mut(&id)?;
        execution.taken += 1;
        let mut given = execution.given.clone();
        given["execution"] = json!(id);
        let page = self.page(&id, 0);
        given.as_object_mut()?.extend(page.as_object()?.clone());
        Some(given)
    }

    fn page(&self, execution: &str, after: usize) -> Value {
        let journal = &self.executions[execution].journal;
        let end = journal.len().min(after + PAGE);
        let mut page = json!({"journal": journal[after..end]});
        if end < journal.len() {
            page["journal_next"] = json!(end);
        }
        page
    }

    /// Takes note of the steps that are told of.
    fn hear(&mut self, asked: &Value) {
        let steps = &mut self.executions.get_mut(asked["execution"].as_str().unwrap()).unwrap().steps;
        steps.extend(asked["progress"].as_array().into_iter().flatten().cloned());
    }

    /// `None`: there is no answer.
    fn perform(&mut self, id: &str, step: &str, effect: &Effect, deadline: Option<i64>) -> Option<Value> {
        let count: usize = self.executions.values().map(|execution| execution.had.len()).sum();
        let silent = match self.breaks {
            Breaks::Before(most) | Breaks::After(most) if count >= most => return None,
            Breaks::Never | Breaks::Before(_) => false,
            Breaks::After(most) => count + 1 == most,
        };
        let execution = self.executions.get_mut(id).unwrap();
        assert!(!execution.outcomes.contains_key(step), "{step} is asked for and is in the journal");
        self.now += 1;
        let (at, result) = match effect {
            // Nobody comes that far: a branch that loses.
            Effect::Wait(until) if until.0 > BEGIN + 500_000_000 => return None,
            Effect::Wait(until) => (until.0, Ok(Value::Null)),
            Effect::Call(Call::Function { with, .. }) if with["tool"] == "app/never" => match deadline {
                Some(deadline) => (deadline, Err(Failure::Deadline)),
                None => return None,
            },
            Effect::Call(Call::Function { with, .. }) if with["tool"] == "panic" => {
                return Some(json!({"outcome": {"at": "no moment"}}));
            }
            effect => (self.now, happen(step, effect)),
        };
        self.now = self.now.max(at);
        let outcome = Outcome { at: Moment(at), result };
        execution.had.push((step.to_owned(), effect.clone()));
        execution.outcomes.insert(step.to_owned(), outcome.clone());
        execution.journal.push(json!({"step": step, "outcome": outcome}));
        if silent {
            return None;
        }
        if matches!(effect, Effect::Wait(_) | Effect::Listen(_)) {
            // It is parked, and what it waits for comes at once.
            self.queue.push_back(id.to_owned());
            return Some(json!({"suspended": true}));
        }
        Some(json!({"outcome": outcome}))
    }
}

fn happen(step: &str, effect: &Effect) -> Result<Value, Failure> {
    match effect {
        Effect::Call(Call::AgentStart { with }) => Ok(json!({
            "model": "fake", "parameters": {}, "limits": with["limits"], "context_tokens": 1000,
            "messages": [{"role": "user", "content": with["prompt"]}],
            "tools": {
                "app/double": {"name": "double", "description": "Doubles.", "input": {"type": "object"}},
                "app/never": {"name": "never", "description": "Never ends.", "input": {"type": "object"}},
            },
        })),
        Effect::Call(Call::AgentTurn(_)) if step.ends_with("/turn/0") => Err(Failure::Error(unavailable())),
        Effect::Call(Call::AgentTurn(turn)) => Ok(fake_model(turn)),
        Effect::Call(Call::Function { function: NexusFunction::Tool, with }) if with["tool"] == "flaky" => {
            if step.contains("/attempt/2") { Ok(json!("at last")) } else { Err(Failure::Error(unavailable())) }
        }
        Effect::Call(Call::Function { function: NexusFunction::Tool, with }) => {
            let n = with["arguments"]["n"].as_i64().unwrap_or_default();
            Ok(json!({"n": n * 2}))
        }
        Effect::Call(Call::Function { with, .. }) => Ok(json!({"prompted": with["input"]})),
        Effect::Listen(_) => Ok(json!({
            "specversion": "1.0", "id": "1", "source": "/test", "type": "com.test.heard", "data": {"word": "hello"},
        })),
        Effect::Emit(event) => Ok(event.clone()),
        other => panic!("{other:?}"),
    }
}

fn unavailable() -> WorkflowError {
    WorkflowError::new(ErrorType::Communication, "not now").with_status(503)
}

/// A fake of a language model: it has two numbers doubled, and says what came of it.
fn fake_model(turn: &nexus_workflow::AgentTurn) -> Value {
    let told = turn.messages.iter().filter_map(|message| match message {
        ChatMessage::Tool { content, .. } => Some(content.clone()),
        _ => None,
    });
    let results: Vec<String> = told.collect();
    let endless = matches!(turn.messages.first(), Some(ChatMessage::User { content }) if content.contains("for ever"));
    let calls = if endless {
        json!([{"id": "1", "name": "never", "arguments": {}}])
    } else if results.is_empty() {
        json!([
            {"id": "1", "name": "double", "arguments": {"n": 3}}, {"id": "2", "name": "double", "arguments": {"n": 4}},
        ])
    } else {
        json!([])
    };
    json!({
        "content": results.join(" "), "tool_calls": calls, "by": {"alias": "fake", "model": "fake"},
        "usage": {"input_tokens": 10, "output_tokens": 10, "cost": 1},
    })
}

impl ServerHandler for TestHost {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let asked = Value::Object(request.arguments.unwrap_or_default());
        let answer = match &*request.name {
            "core.work.next" => self.next(asked["wait_ms"].as_u64().unwrap_or(25_000)).await,
            "core.work.document" => {
                let mut world = self.world();
                let execution = world.executions.get_mut(asked["execution"].as_str().unwrap()).unwrap();
                execution.documents += 1;
                json!({"document": execution.document})
            }
            "core.work.journal" => {
                let after = usize::try_from(asked["after"].as_u64().unwrap()).unwrap();
                self.world().page(asked["execution"].as_str().unwrap(), after)
            }
            "core.work.perform" => self.perform(&asked, &context).await,
            "core.work.decide" => self.decide(&asked),
            "core.work.step" => self.step(&asked),
            "core.work.finish" => {
                let execution = asked["execution"].as_str().unwrap().to_owned();
                self.world().hear(&asked);
                self.world().executions.get_mut(&execution).unwrap().finished.push(asked);
                self.changed.notify_waiters();
                json!({})
            }
            other => {
                let text = format!("there is no tool `{other}`");
                return Ok(CallToolResult::error(vec![ContentBlock::text(text)]).into());
            }
        };
        Ok(CallToolResult::structured(answer).into())
    }
}
