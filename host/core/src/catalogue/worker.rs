//! What a program in a sandbox sees: `core.work.*`, by which it takes executions and brings them back, and the tools that the
//! application lets its executions use. A call of such a tool says for which execution it is, in `_meta` under
//! `nexus/execution`; it need not while the program has exactly one.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use nexus_model::{
    AppName, CatalogueCall, CatalogueError, CatalogueInfo, CatalogueTool, ExecutionId, ToolAnswered, ToolCatalogue,
    ToolContent,
};
use nexus_workflow::Moment;
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::host::schema_of;
use crate::{
    Core,
    audit_log::Denial,
    durable::{Asked, Performed, Run},
    tools::{ToolScope, short},
    work::{Brought, Desk, Standing, Work},
};

const NEXT: &str = "core.work.next";
const STEP: &str = "core.work.step";
const FINISH: &str = "core.work.finish";
const DOCUMENT: &str = "core.work.document";
const JOURNAL: &str = "core.work.journal";
const PERFORM: &str = "core.work.perform";
const DECIDE: &str = "core.work.decide";
/// Where a call says for which execution it is.
const EXECUTION: &str = "nexus/execution";
/// Where a call has its idempotency key.
const KEY: &str = "nexus/idempotency-key";
/// The longest that a program waits for work.
const MAX_WAIT: Duration = Duration::from_secs(25);
/// Bytes of a journal that go along with one answer.
const JOURNAL_BYTES: usize = 512 << 10;

const INSTRUCTIONS: &str = "Take work with `core.work.next`, again and again. Name the execution in `_meta` of each other call \
    as `nexus/execution`. Report with `core.work.step`, and stop where it answers `cancel`. Bring the output back with \
    `core.work.finish`. End when the input is closed.";

/// Waits for an execution, and takes it. Returns `execution`, `operation`, `definition`, `input`, `journal` and
/// `deadline_unix_ms`; an empty object if none came in time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Next {
    /// How long to wait, in milliseconds: at most 25,000, which is what it is if left out.
    wait_ms: Option<u64>,
}

/// The document of an execution's workflow, for a program that does not know it by its digest yet. Returns `document`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Document {
    /// The execution.
    execution: String,
}

/// More of an execution's journal than came with it. Returns `journal`, and `journal_next` if there is still more.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Journal {
    /// The execution.
    execution: String,
    /// `journal_next` of what came before.
    after: usize,
}

/// Tells of steps of an execution, for those who watch it. Returns `go`: `on` or `cancel`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The execution.
    execution: String,
    /// What was done, for people.
    message: Option<String>,
    /// Steps of a workflow that began or ended.
    #[serde(default)]
    progress: Vec<StepProgress>,
}

/// A step of a workflow that began or ended.
#[derive(Deserialize, JsonSchema)]
struct StepProgress {
    /// Its name.
    step: String,
    /// Its task's name.
    task: String,
    /// `started`, `completed`, `skipped`, `faulted` or `retried`.
    phase: String,
}

/// Has an effect of a workflow, once: how it ended is written down before it is told, and before that, that it is begun, unless it
/// may be had again under the same key. Returns `outcome`; or
/// `suspended`: the execution waits, and is to be left; or `cancelled`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Perform {
    /// The execution.
    execution: String,
    /// The step.
    step: String,
    /// The JSON Pointer of its task.
    pointer: String,
    /// The effect.
    effect: Value,
    /// When it is too late for it, as Unix time in milliseconds.
    deadline: Option<i64>,
    /// Steps that began or ended before, and are not told yet. Of different branches they may come in another order.
    #[serde(default)]
    progress: Vec<StepProgress>,
}

/// Writes down how a workflow was decided. Returns `decision`: the first that was written down for this step.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Decide {
    /// The execution.
    execution: String,
    /// The step.
    step: String,
    /// The decision.
    decision: Value,
}

/// Brings an execution back, with its output or with an error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Finish {
    /// The execution.
    execution: String,
    /// The output, by the operation's schema.
    #[serde(default, deserialize_with = "given")]
    output: Option<Value>,
    /// Why there is none.
    error: Option<String>,
    /// The error of a workflow: problem details.
    problem: Option<Value>,
    /// When it ended, by its own clock.
    #[serde(rename = "at")]
    _at: Option<i64>,
    /// Steps of a workflow that began or ended, and are not told yet.
    #[serde(default)]
    progress: Vec<StepProgress>,
}

/// An output that is `null` is an output.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The host, as one program in a sandbox sees it.
pub(crate) struct WorkerCatalogue {
    pub(crate) core: Core,
    pub(crate) app: AppName,
    /// What tells this sandbox from others.
    pub(crate) sandbox: String,
    pub(crate) desk: Arc<Desk>,
}

type Answered = Result<ToolAnswered, CatalogueError>;

impl WorkerCatalogue {
    async fn next(&self, arguments: Value) -> Answered {
        let Next { wait_ms } = match read(arguments) {
            Ok(next) => next,
            Err(refused) => return Ok(refused),
        };
        let wait = wait_ms.map_or(MAX_WAIT, Duration::from_millis).min(MAX_WAIT);
        let Some(work) = self.desk.next(wait).await else { return Ok(ToolAnswered::Result(json!({}))) };
        let mut told = json!({
            "execution": work.execution.to_string(), "operation": work.operation.as_str(), "definition": *work.definition,
            "input": work.input, "journal": [], "deadline_unix_ms": unix_ms(work.until),
        });
        let Some(run) = &work.run else { return Ok(ToolAnswered::Result(told)) };
        add_journal(&mut told, run, 0);
        Ok(told_program(told))
    }

    fn document(&self, arguments: Value) -> Answered {
        let Document { execution } = match read(arguments) {
            Ok(document) => document,
            Err(refused) => return Ok(refused),
        };
        let run = self.run_of(&execution)?;
        Ok(run.map_or_else(over, |run| told_program(json!({ "document": *run.workflow.document }))))
    }

    fn journal(&self, arguments: Value) -> Answered {
        let Journal { execution, after } = match read(arguments) {
            Ok(journal) => journal,
            Err(refused) => return Ok(refused),
        };
        let mut told = json!({ "journal": [] });
        if let Standing::Open(work) = self.standing(&execution)?
            && let Some(run) = &work.run
        {
            add_journal(&mut told, run, after);
        }
        Ok(told_program(told))
    }

    async fn perform(&self, arguments: Value) -> Answered {
        let Perform { execution, step, pointer, effect, deadline, progress } = match read(arguments) {
            Ok(perform) => perform,
            Err(refused) => return Ok(refused),
        };
        let effect = match read(effect) {
            Ok(effect) => effect,
            Err(refused) => return Ok(refused),
        };
        let Some(run) = self.run_of(&execution)? else { return Ok(over()) };
        tell(&run, progress);
        let asked = Asked { step, pointer, effect, deadline: deadline.map(Moment) };
        let performing = self.core.durable().perform(&self.core, &run, asked).instrument(run.span.clone());
        Ok(told_program(match Box::pin(performing).await {
            Performed::Outcome(outcome) => json!({ "outcome": outcome }),
            Performed::Suspended => {
                self.desk.release(run.id, Some(&run));
                json!({ "suspended": true })
            }
            Performed::Over => return Ok(over()),
        }))
    }

    async fn decide(&self, arguments: Value) -> Answered {
        let Decide { execution, step, decision } = match read(arguments) {
            Ok(decide) => decide,
            Err(refused) => return Ok(refused),
        };
        let decision = match read(decision) {
            Ok(decision) => decision,
            Err(refused) => return Ok(refused),
        };
        let Some(run) = self.run_of(&execution)? else { return Ok(over()) };
        let decided = self.core.durable().decide(&run, step, String::new(), decision).await;
        Ok(decided.map_or_else(over, |decision| told_program(json!({ "decision": decision }))))
    }

    /// The execution of a workflow that the program names, if it is not over.
    fn run_of(&self, execution: &str) -> Result<Option<Arc<Run>>, CatalogueError> {
        if let Standing::Open(work) = self.standing(execution)? {
            return Ok(work.run.clone());
        }
        self.desk.release(self.id(execution)?, None);
        Ok(None)
    }

    fn step(&self, arguments: Value) -> Answered {
        let step: Step = match read(arguments) {
            Ok(step) => step,
            Err(refused) => return Ok(refused),
        };
        let go = match self.standing(&step.execution)? {
            Standing::Open(work) => {
                tracing::debug!(execution = %work.execution, message = step.message, "a step in a sandbox");
                if let Some(run) = &work.run {
                    tell(run, step.progress);
                }
                "on"
            }
            _ => "cancel",
        };
        Ok(ToolAnswered::Result(json!({ "go": go })))
    }

    fn finish(&self, arguments: Value) -> Answered {
        let Finish { execution, output, error, problem, progress, .. } = match read(arguments) {
            Ok(finish) => finish,
            Err(refused) => return Ok(refused),
        };
        let outcome = match (output, error, problem.map(read)) {
            (Some(output), None, None) => Ok(Brought::Output(output)),
            (None, Some(error), None) => Err(error),
            (None, None, Some(Ok(problem))) => Ok(Brought::Problem(Box::new(problem))),
            (_, _, Some(Err(refused))) => return Ok(refused),
            _ => {
                let why = "invalid_arguments: one of `output`, `error` and `problem` is to be given";
                return Ok(ToolAnswered::Refused(why.to_owned()));
            }
        };
        let id = self.id(&execution)?;
        if let Standing::Open(work) = self.desk.standing(id)
            && let Some(run) = &work.run
        {
            tell(run, progress);
        }
        match self.desk.finish(id, outcome) {
            Standing::Foreign => Err(self.foreign(&execution)),
            _ => Ok(ToolAnswered::Result(json!({}))),
        }
    }

    async fn use_tool(&self, call: CatalogueCall) -> Answered {
        let named = call.meta.get(EXECUTION).and_then(Value::as_str).map(|named| self.id(named)).transpose()?;
        let Some(id) = named.or_else(|| self.desk.only()) else {
            let why = format!("invalid_arguments: `_meta` does not say in `{EXECUTION}` for which execution it is");
            return Ok(ToolAnswered::Refused(why));
        };
        match self.desk.standing(id) {
            Standing::Foreign => Err(self.foreign(&id.to_string())),
            Standing::Cancelled => Ok(ToolAnswered::Refused("cancelled: the execution is over".to_owned())),
            Standing::Open(work) => {
                let key = call.meta.get(KEY).and_then(Value::as_str).map(|key| format!("{id}/{key}"));
                let scope = self.scope(&work, &call);
                scope.call(&call.tool, call.arguments, key.as_deref()).await
            }
        }
    }

    fn scope(&self, work: &Work, call: &CatalogueCall) -> ToolScope {
        ToolScope {
            core: self.core.clone(),
            application: Arc::clone(&work.application),
            execution: work.execution,
            until: work.until,
            depth: 1,
            caller: Arc::clone(&call.caller),
        }
    }

    fn standing(&self, execution: &str) -> Result<Standing, CatalogueError> {
        match self.desk.standing(self.id(execution)?) {
            Standing::Foreign => Err(self.foreign(execution)),
            standing => Ok(standing),
        }
    }

    fn id(&self, execution: &str) -> Result<ExecutionId, CatalogueError> {
        execution.parse().map_err(|_| self.foreign(execution))
    }

    /// The program names an execution that it was not given: that is no mistake that it can make by itself. It is ended.
    fn foreign(&self, execution: &str) -> CatalogueError {
        let request = format!("sandbox {} named the execution {}", self.sandbox, short(execution));
        tracing::warn!(app = %self.app, sandbox = self.sandbox, "a sandbox named an execution that is not its own; it is ended");
        self.core.audit_log.deny(Denial { status: 403, key_id: Some(format!("app:{}", self.app)), request });
        self.desk.ended.cancel();
        CatalogueError::Unknown("the execution is not this sandbox's".to_owned())
    }
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, ToolAnswered> {
    serde_json::from_value(arguments).map_err(|error| ToolAnswered::Refused(format!("invalid_arguments: {error}")))
}

/// What only a program that walks workflows asks: it reads values, and needs no text beside them.
fn told_program(told: Value) -> ToolAnswered {
    ToolAnswered::Content(ToolContent { blocks: Vec::new(), structured: Some(told), failed: false })
}

/// What a program is told of an execution that is over.
fn over() -> ToolAnswered {
    told_program(json!({ "cancelled": true }))
}

/// Puts what fits of a journal into an answer.
fn add_journal(told: &mut Value, run: &Run, after: usize) {
    let (records, more) = run.journal_from(after, JOURNAL_BYTES);
    told["journal"] = Value::Array(records);
    if let Some(next) = more {
        told["journal_next"] = next.into();
    }
}

/// Tells those who watch an execution of its steps.
fn tell(run: &Run, progress: Vec<StepProgress>) {
    for StepProgress { step, task, phase } in progress {
        run.news.step(step, task, phase);
    }
}

/// An instant as others can read it.
fn unix_ms(instant: Instant) -> u64 {
    let at = SystemTime::now() + instant.saturating_duration_since(Instant::now());
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[async_trait]
impl ToolCatalogue for WorkerCatalogue {
    fn about(&self) -> CatalogueInfo {
        CatalogueInfo { name: self.app.to_string(), instructions: INSTRUCTIONS.to_owned() }
    }

    fn owner(&self) -> &str {
        &self.sandbox
    }

    fn version(&self) -> String {
        self.core.registry.application(self.app.as_str()).map(|app| app.revision.to_string()).unwrap_or_default()
    }

    async fn changed_from(&self, version: &str) {
        let mut swaps = self.core.registry.swaps();
        while self.version() == version {
            if swaps.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn tools(&self) -> Vec<CatalogueTool> {
        let mut tools = vec![
            shown::<Next>(NEXT),
            shown::<Step>(STEP),
            shown::<Finish>(FINISH),
            shown::<Document>(DOCUMENT),
            shown::<Journal>(JOURNAL),
            shown::<Perform>(PERFORM),
            shown::<Decide>(DECIDE),
        ];
        if let Some(application) = self.core.registry.application(self.app.as_str()) {
            tools.extend(crate::tools::allowed(&self.core, &application));
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        tools
    }

    async fn call(&self, call: CatalogueCall) -> Answered {
        match call.tool.as_str() {
            NEXT => self.next(call.arguments).await,
            STEP => self.step(call.arguments),
            FINISH => self.finish(call.arguments),
            DOCUMENT => self.document(call.arguments),
            JOURNAL => self.journal(call.arguments),
            PERFORM => self.perform(call.arguments).await,
            DECIDE => self.decide(call.arguments).await,
            _ => self.use_tool(call).await,
        }
    }
}

fn shown<T: JsonSchema>(name: &str) -> CatalogueTool {
    let (description, input) = schema_of::<T>();
    CatalogueTool { name: name.to_owned(), description: Some(description), input, output: None, read_only: false }
}

impl fmt::Debug for WorkerCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerCatalogue").field("sandbox", &self.sandbox).finish_non_exhaustive()
    }
}
