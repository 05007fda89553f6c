//! In-memory twins of the ports, and a bench that puts a heart on them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use nexus_core::{
    Answer, Call, CallError, Condition, Core, CoreConfig, Edit, ImageMaking, ImportError, JitStatus, MasterKey,
    OracleConfig, Parts, SecretVault,
};
use nexus_definitions::BaseImages;
use nexus_egress::Egress;
use nexus_model::{
    AnsweredBy, Author, BuildError, Component, ComponentAnswer, ComponentFault, ComponentHost, ComponentKind,
    ConverseRequest, DefinitionStore, Execution, ExecutionId, FileTree, GenerateRequest, Generation, JitState,
    LoadError, ModelError, ModelErrorKind, ModelProvider, OperationRef, PluginHost, Reply, RuntimeStore, TokenSink,
    Usage, sha256_hex,
};
use nexus_signals::{EventBus, EventsConfig, MetricCollector};
use nexus_state::memory::{MemoryDefinitions, MemoryRuntime};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::plugin_twins::PluginTwins;

pub(crate) mod files {
    use std::sync::Arc;

    pub(crate) fn bytes(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    pub(crate) fn prompt(text: &str) -> Arc<[u8]> {
        bytes(&format!(
            "name: Double\ndescription: Doubles.\nmodel: small\nmessages:\n  - role: user\n    content: \"{text}\"\n"
        ))
    }
}

/// The application `sums` with the operation `double`.
pub(crate) fn definition(mode: &str, min_inputs: u32) -> FileTree {
    let app = format!(
        "apiVersion: nexus/v1\nkind: Application\nmetadata:\n  name: sums\n  description: Sums.\nspec:\n  operations:\n    \
         double:\n      description: Doubles a number.\n      input: in.json\n      output: out.json\n      \
         prompt: double.prompt.yml\n      optimize: {{ mode: {mode}, agreement: 0.95, min_inputs: {min_inputs} }}\n  \
         limits: {{ timeout: 5s, concurrency: 2 }}\n"
    );
    let schema = json!({
        "type": "object", "required": ["n"], "additionalProperties": false, "properties": { "n": { "type": "integer" } }
    });
    BTreeMap::from([
        ("app.yaml".to_owned(), files::bytes(&app)),
        ("in.json".to_owned(), files::bytes(&schema.to_string())),
        ("out.json".to_owned(), files::bytes(&schema.to_string())),
        ("double.prompt.yml".to_owned(), files::prompt("Double {{ input.n }}")),
    ])
}

pub(crate) fn n_of(output: &str) -> u64 {
    serde_json::from_str::<Value>(output).unwrap()["n"].as_u64().unwrap()
}

/// A coder's answer whose code says which of the twins' behaviours it is.
pub(crate) fn good_code(behaviour: &str) -> Value {
    let two = if behaviour == "fails-own-tests" { json!({"ok": {"n": 5}}) } else { json!({"ok": {"n": 4}}) };
    let two = match behaviour {
        "wrong" | "lucky" => json!({"ok": {"n": 5}}),
        "abstains" => json!({"abstain": true}),
        _ => two,
    };
    let tests: Vec<Value> = std::iter::repeat_n(json!({"input": {"n": 2}, "expect": two}), 3).collect();
    json!({ "code": [behaviour], "tests": tests })
}

/// Answers the coder's prompts from a list and remembers them.
#[derive(Clone, Default)]
pub(crate) struct Coder {
    answers: Arc<Mutex<VecDeque<Value>>>,
    prompts: Arc<Mutex<Vec<String>>>,
}

impl Coder {
    pub(crate) fn answers(answers: impl IntoIterator<Item = Value>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), prompts: Arc::default() }
    }

    pub(crate) fn prompts(&self) -> Vec<String> {
        self.prompts.lock().unwrap().clone()
    }
}

/// The model doubles the last word of what it is asked, 99,999 only once it is released; the coder answers from its list.
struct Models(Coder, CancellationToken);

fn generation(model: &str, value: Value) -> Generation {
    Generation {
        value,
        usage: Usage::default(),
        by: AnsweredBy { alias: model.to_owned(), model: model.to_owned() },
        repaired: false,
    }
}

#[async_trait]
impl ModelProvider for Models {
    async fn generate(
        &self,
        request: &GenerateRequest,
        _: Option<&mut dyn TokenSink>,
    ) -> Result<Generation, ModelError> {
        let error = |kind| ModelError {
            model: request.model.clone(),
            kind,
            detail: String::new(),
            hint: String::new(),
            usage: Usage::default(),
        };
        let prompt = &request.messages.last().unwrap().content;
        if request.model == "writer" {
            return Ok(generation("writer", json!({ "text": format!("{prompt}!") })));
        }
        if request.model == "coder" {
            self.0.prompts.lock().unwrap().push(prompt.clone());
            let answer = self.0.answers.lock().unwrap().pop_front();
            return answer.map(|answer| generation("coder", answer)).ok_or_else(|| error(ModelErrorKind::Unreachable));
        }
        let n: u64 = prompt.rsplit(' ').next().unwrap().parse().unwrap();
        match n {
            99_999 => {
                self.1.cancelled().await;
                Ok(generation("small", json!({"n": 2 * n})))
            }
            77_777 => Err(error(ModelErrorKind::ProviderFailed { status: 500 })),
            66_666 => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok(generation("small", json!({"n": 2 * n})))
            }
            // The limit of the one model is reached; the other, if it may be asked, has ideas of its own.
            88_888 if request.fallback => Ok(generation("other", json!({"n": 1}))),
            88_888 => Err(error(ModelErrorKind::RateLimited { retry_after: None })),
            _ => Ok(generation("small", json!({"n": 2 * n}))),
        }
    }

    async fn converse(&self, _: &ConverseRequest, _: Option<&mut dyn TokenSink>) -> Result<Reply, ModelError> {
        unimplemented!("no test of the heart has an agent")
    }

    fn resolve(&self, alias: &str) -> Option<String> {
        Some(format!("twin/{alias}"))
    }
}

/// "Builds" a source that names a behaviour.
struct Components;

#[derive(Debug)]
struct Behaviour {
    name: String,
    digest: String,
}

#[async_trait]
impl ComponentHost for Components {
    async fn build(&self, source: &str) -> Result<Vec<u8>, BuildError> {
        if source.trim() == "no-build" { Err(BuildError::Source("no".to_owned())) } else { Ok(source.into()) }
    }

    async fn load(&self, _: ComponentKind, component: &[u8]) -> Result<Arc<dyn Component>, LoadError> {
        let name = String::from_utf8_lossy(component).trim().to_owned();
        Ok(Arc::new(Behaviour { digest: sha256_hex(component), name }))
    }
}

#[async_trait]
impl Component for Behaviour {
    async fn run(&self, input: &str, deadline: Duration) -> Result<ComponentAnswer, ComponentFault> {
        let n = n_of(input);
        let value = |n: u64| Ok(ComponentAnswer::Value(json!({ "n": n }).to_string()));
        let late = n > 900;
        match self.name.as_str() {
            "abstains" => Ok(ComponentAnswer::Abstain("never".to_owned())),
            "wrong" => value(2 * n + 1),
            "lucky" if !is_sealed(n) => value(2 * n + 1),
            "wrong-later" if late => value(1),
            "breaks-early" if n != 2 => Ok(ComponentAnswer::Value("{\"n\":\"x\"}".to_owned())),
            "breaks-schema" if late => Ok(ComponentAnswer::Value("{}".to_owned())),
            "trap" if late => Err(ComponentFault::Trap("unreachable".to_owned())),
            "held-up" if deadline < Duration::from_secs(1) => Err(ComponentFault::Deadline(deadline)),
            "slow" if late => Err(ComponentFault::Deadline(deadline)),
            "limit" if late => Err(ComponentFault::Limit("memory".to_owned())),
            "failure" if late => Ok(ComponentAnswer::Failure("no".to_owned())),
            "even" if n % 2 == 1 && late => Ok(ComponentAnswer::Abstain("odd".to_owned())),
            _ => value(2 * n),
        }
    }

    fn digest(&self) -> &str {
        &self.digest
    }
}

/// Whether the split seals the input of this number.
fn is_sealed(n: u64) -> bool {
    let hash = sha256_hex(json!({ "n": n }).to_string());
    u64::from_str_radix(&hash[56..], 16).unwrap() % 10 >= 8
}

fn author() -> Author {
    Author { name: "test".to_owned(), email: "test@nexus.invalid".to_owned() }
}

/// A heart on twins.
pub(crate) struct Bench {
    pub(crate) core: Core,
    pub(crate) operation: OperationRef,
    definitions: Arc<MemoryDefinitions>,
    pub(crate) runtime: Arc<MemoryRuntime>,
    pub(crate) plugins: Arc<PluginTwins>,
    pub(crate) folders: TempDir,
    coder: Coder,
    metrics: Arc<MetricCollector>,
    released: CancellationToken,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Bench {
    pub(crate) async fn start(files: FileTree, coder: Coder, adjust: impl FnOnce(&mut OracleConfig)) -> Self {
        let mut oracle = OracleConfig { tick_ms: 10, audit_share: 0.0, ..OracleConfig::default() };
        adjust(&mut oracle);
        let stores = (Arc::new(MemoryDefinitions::default()), Arc::new(MemoryRuntime::default()));
        let bench = Self::on(stores, coder, oracle, EventsConfig::default()).await;
        bench.import(files).await;
        bench
    }

    /// With these applications, of whose events so many may wait for one trigger.
    pub(crate) async fn with_queue(queue: usize, apps: BTreeMap<&str, FileTree>) -> Self {
        let stores = (Arc::new(MemoryDefinitions::default()), Arc::new(MemoryRuntime::default()));
        let oracle = OracleConfig { tick_ms: 10, audit_share: 0.0, ..OracleConfig::default() };
        let bench = Self::on(stores, Coder::default(), oracle, EventsConfig { queue, ..EventsConfig::default() }).await;
        bench.import_all(apps).await.unwrap();
        bench
    }

    async fn on(
        (definitions, runtime): (Arc<MemoryDefinitions>, Arc<MemoryRuntime>),
        coder: Coder,
        oracle: OracleConfig,
        events: EventsConfig,
    ) -> Self {
        let released = CancellationToken::new();
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let (plugins, folders) = (Arc::<PluginTwins>::default(), tempfile::tempdir().unwrap());
        let master = MasterKey::from_bytes([0; 32]);
        let vault = SecretVault::load(Arc::clone(&runtime) as Arc<dyn RuntimeStore>, &master).await.unwrap();
        let metrics = Arc::new(MetricCollector::default());
        let parts = Parts {
            vault: Arc::new(vault),
            definitions: Arc::clone(&definitions) as Arc<dyn DefinitionStore>,
            runtime: Arc::clone(&runtime) as Arc<dyn RuntimeStore>,
            models: Arc::new(Models(coder.clone(), released.clone())),
            components: Arc::new(Components),
            plugins: Arc::clone(&plugins) as Arc<dyn PluginHost>,
            folders: folders.path().to_owned(),
            metrics: Arc::clone(&metrics),
            events: EventBus::default(),
            secrets: Arc::new(|app, name| (name == "key").then(|| format!("the key of {app}").into())),
            egress: Egress::default(),
            programs: BTreeMap::new(),
            images: ImageMaking {
                bases: BaseImages { node: String::new(), python: String::new() },
                arguments: BTreeMap::new(),
            },
            walker: None,
            remote: None,
            tracker: tracker.clone(),
            cancel: cancel.clone(),
        };
        let known_models = vec!["small".to_owned(), "coder".to_owned(), "writer".to_owned()];
        let events = EventsConfig { retry_ms: 5, lease_ms: 1_000, ..events };
        let config = CoreConfig { known_models, oracle, events, ..CoreConfig::default() };
        let core = Core::start(config, parts, &master).await.unwrap();
        let operation = OperationRef { app: "sums".parse().unwrap(), operation: "double".parse().unwrap() };
        Self { core, operation, definitions, runtime, plugins, folders, coder, metrics, released, tracker, cancel }
    }

    /// Another heart on the same stores, beside this one.
    pub(crate) async fn beside(&self) -> Self {
        let stores = (Arc::clone(&self.definitions), Arc::clone(&self.runtime));
        let oracle = OracleConfig { tick_ms: 10, ..OracleConfig::default() };
        Self::on(stores, self.coder.clone(), oracle, EventsConfig::default()).await
    }

    /// Stops this heart and starts another on the same stores.
    pub(crate) async fn restart(self) -> Self {
        let (stores, coder) = ((Arc::clone(&self.definitions), Arc::clone(&self.runtime)), self.coder.clone());
        self.stop().await;
        let oracle = OracleConfig { tick_ms: 10, audit_share: 0.0, ..OracleConfig::default() };
        Self::on(stores, coder, oracle, EventsConfig::default()).await
    }

    /// Stops it; every task ends.
    pub(crate) async fn stop(self) {
        let Self { core, tracker, cancel, .. } = self;
        core.drain().await;
        cancel.cancel();
        drop(core);
        tracker.close();
        tokio::time::timeout(Duration::from_secs(5), tracker.wait()).await.expect("every task ends");
    }

    pub(crate) async fn try_import(&self, files: FileTree) -> Result<(), ImportError> {
        self.import_all(BTreeMap::from([(self.operation.app.as_str(), files)])).await
    }

    pub(crate) async fn import_all(&self, apps: BTreeMap<&str, FileTree>) -> Result<(), ImportError> {
        let apps = apps.into_iter().map(|(name, files)| (name.parse().unwrap(), files)).collect();
        self.core.registry.import(apps, &author()).await.map(|_| ())
    }

    pub(crate) async fn remove(&self, app: &str) {
        let (app, condition) = (app.parse().unwrap(), Condition::Present);
        let edit = Edit { app, condition, author: author(), message: None };
        self.core.registry.delete_app(&edit).await.unwrap();
    }

    /// Deliveries to other applications that were not permitted, by reason.
    pub(crate) fn refused_deliveries(&self) -> [u64; 2] {
        self.metrics.host().snapshot().deliveries_refused
    }

    /// Lets go of what the model keeps back.
    pub(crate) fn release(&self) {
        self.released.cancel();
    }

    pub(crate) async fn import(&self, files: FileTree) {
        self.try_import(files).await.unwrap();
    }

    pub(crate) async fn raw(&self, app: &str, operation: &str, body: &[u8]) -> Result<Answer, CallError> {
        self.core.router.execute(Call { app, operation, body, sink: None }).await
    }

    pub(crate) async fn call(&self, n: u64) -> Result<Answer, CallError> {
        self.raw("sums", "double", json!({ "n": n }).to_string().as_bytes()).await
    }

    pub(crate) async fn execution(&self, id: ExecutionId) -> Option<Execution> {
        self.core.executions.get(&self.core.registry.names(), id).await.unwrap()
    }

    pub(crate) async fn status(&self) -> JitStatus {
        self.core.oracle.status(&self.operation).await.unwrap().unwrap()
    }

    pub(crate) async fn wait_for(&self, state: JitState) -> JitStatus {
        for _ in 0..500 {
            let status = self.status().await;
            if status.record.state == state {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the operation did not become {state:?}: {:?}", self.status().await);
    }

    pub(crate) async fn code_files(&self, folder: &str) -> FileTree {
        self.definitions.read_code(&self.operation.app, folder).await.unwrap()
    }
}
