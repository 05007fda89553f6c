//! What an operator can set: one struct per concern, all with defaults.

mod definitions;
pub mod duration;
mod egress;
mod load;
mod models;
mod sandbox;
mod store;
mod telemetry;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use nexus_core::{ExecutionsConfig, OracleConfig};
use nexus_llm::{KeyReference, ModelSettings};
use nexus_model::AppName;
pub use nexus_signals::{EventsConfig, LogFormat};
use serde::{Deserialize, Serialize};

pub use definitions::{DefinitionSettings, RemoteSettings};
pub use egress::EgressSettings;
pub use load::{Override, SettingsError, Sources};
pub use sandbox::{ImageSettings, McpSettings, ProgramSettings, SandboxDriver, SandboxSettings};
pub use store::{RedisSettings, StoreSettings};
pub use telemetry::TelemetrySettings;

/// Secrets that definitions name: application → name → where the secret is.
pub type SecretSettings = BTreeMap<AppName, BTreeMap<String, KeyReference>>;

/// All settings of a server: `nexus.yaml`, then `NEXUS_*`, then flags; the later wins.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where everything is kept; made if it is not there.
    pub data_dir: PathBuf,
    /// The address to listen on; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Ask for no keys. Only with a loopback address, and `Host` and `Origin` are checked.
    pub insecure_local: bool,
    /// Show `/metrics` without a key.
    pub metrics_open: bool,
    /// Where runtime state is kept.
    pub store: StoreSettings,
    /// How a Redis is used, where `store` names one.
    pub redis: RedisSettings,
    /// A folder of applications that is imported at the start and again on change.
    pub apps: Option<PathBuf>,
    /// Where definitions are kept, and what they are kept in step with.
    pub definitions: DefinitionSettings,
    /// Models, under the aliases that prompts use.
    #[serde(serialize_with = "models::serialize")]
    pub models: BTreeMap<String, ModelSettings>,
    /// Bounds of what callers may do.
    pub limits: LimitSettings,
    /// How code takes over from models.
    pub oracle: OracleConfig,
    /// How long executions are kept.
    pub executions: ExecutionsConfig,
    /// How events are kept and worked off.
    pub events: EventsConfig,
    /// Secrets that definitions name, for each application.
    pub secrets: SecretSettings,
    /// The Wasm tier.
    pub wasm: WasmSettings,
    /// Requests of applications to the outside.
    pub egress: EgressSettings,
    /// Where programs run apart.
    pub sandbox: SandboxSettings,
    /// Outside MCP servers.
    pub mcp: McpSettings,
    /// The log, on standard error and in the data directory.
    pub log: LogSettings,
    /// Where secrets are looked up beside the store and the variables: a folder with one file for each secret of the host,
    /// and one folder for each application with secrets of its own.
    pub secrets_dir: PathBuf,
    /// Export of traces, metrics and logs.
    pub telemetry: TelemetrySettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "nexus-data".into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            insecure_local: false,
            metrics_open: false,
            store: StoreSettings::default(),
            redis: RedisSettings::default(),
            apps: None,
            definitions: DefinitionSettings::default(),
            models: BTreeMap::new(),
            limits: LimitSettings::default(),
            oracle: OracleConfig::default(),
            executions: ExecutionsConfig::default(),
            events: EventsConfig::default(),
            secrets: SecretSettings::default(),
            wasm: WasmSettings::default(),
            egress: EgressSettings::default(),
            sandbox: SandboxSettings::default(),
            mcp: McpSettings::default(),
            log: LogSettings::default(),
            secrets_dir: "/run/secrets".into(),
            telemetry: TelemetrySettings::default(),
        }
    }
}

impl Settings {
    /// The defaults, on a free port, with everything in `data_dir`.
    pub fn for_testing(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            wasm: WasmSettings::for_testing(),
            sandbox: SandboxSettings { driver: SandboxDriver::Off, ..SandboxSettings::default() },
            ..Self::default()
        }
    }

    /// The bare repository of the definitions.
    pub(crate) fn repository(&self) -> PathBuf {
        self.definitions.repository.clone().unwrap_or_else(|| self.data_dir.join("definitions.git"))
    }

    /// Says what is wrong with values that are well-formed, each with the setting's name.
    pub(crate) fn faults(&self) -> Vec<String> {
        let limits = &self.limits;
        let checks = [
            (
                self.insecure_local && !self.listen.ip().is_loopback(),
                "`insecure_local` needs a loopback address in `listen`",
            ),
            (
                self.apps.is_some() && self.definitions.remote.as_ref().is_some_and(|remote| remote.follow),
                "`apps` is imported and `definitions.remote.follow` takes changes from elsewhere: set one of them",
            ),
            (limits.body_bytes == 0, "`limits.body_bytes` must be more than 0"),
            (limits.definition_bytes == 0, "`limits.definition_bytes` must be more than 0"),
            (limits.in_flight == 0, "`limits.in_flight` must be more than 0"),
            (limits.in_flight > tokio::sync::Semaphore::MAX_PERMITS >> 8, "`limits.in_flight` is too large"),
            (limits.connections == 0, "`limits.connections` must be more than 0"),
            (limits.header_timeout.is_zero(), "`limits.header_timeout` must be more than 0"),
            (limits.body_timeout.is_zero(), "`limits.body_timeout` must be more than 0"),
            (self.events.keep == 0, "`events.keep` must be more than 0"),
            (self.events.queue == 0, "`events.queue` must be more than 0"),
            (!(1..=1_000).contains(&self.events.parallel), "`events.parallel` is from 1 to 1000"),
            (self.events.lease_ms < 500, "`events.lease_ms` must be at least 500"),
            (self.log.keep_bytes < 1 << 20, "`log.keep_bytes` must be at least 1 MiB (1048576)"),
            (self.log.keep < Duration::from_mins(1), "`log.keep` must be at least `1m`"),
            (!self.telemetry.is_share(), "`telemetry.sample` is from 0 to 1"),
            (self.telemetry.metrics_every.is_zero(), "`telemetry.metrics_every` must be more than 0"),
            (self.wasm.compilers == 0, "`wasm.compilers` must be more than 0"),
            (self.egress.connections == 0, "`egress.connections` must be more than 0"),
            (self.wasm.concurrent == 0, "`wasm.concurrent` must be more than 0"),
            (self.wasm.concurrent > self.wasm.instances, "`wasm.concurrent` must be at most `wasm.instances`"),
        ];
        let checks = checks.into_iter().chain(store::faults(&self.store, &self.redis));
        let wrong = checks.filter(|(wrong, _)| *wrong).map(|(_, fault)| fault.to_owned());
        wrong.chain(nexus_llm::fallback_faults(&self.models)).collect()
    }
}

/// Bounds of what callers may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// The largest body that brings definitions, in bytes; four of them are read at one time.
    pub definition_bytes: usize,
    /// Requests that may be in flight at one time; more are turned away with 503 before any work is done.
    pub in_flight: usize,
    /// Connections that may be open at one time; more wait.
    pub connections: usize,
    /// How long a request's header may take, and how long a connection may idle.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// How long a request's body may take.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// How long a stopping server waits for requests in flight.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// What one application may keep for itself in the runtime store, in bytes of keys and values.
    pub state_bytes: u64,
    /// How many keys it may keep there.
    pub state_keys: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            definition_bytes: 32 << 20,
            in_flight: 1024,
            connections: 4096,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            state_bytes: nexus_model::Quota::default().bytes,
            state_keys: nexus_model::Quota::default().keys,
        }
    }
}

/// The Wasm tier.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WasmSettings {
    /// The program that compiles, called with the argument `compile-child`; this program itself if left out.
    pub compiler: Option<PathBuf>,
    /// How many of them run at one time.
    pub compilers: usize,
    /// Compiled code that is kept on disk, in bytes.
    pub cache_bytes: u64,
    /// Linear memory of one instance, in bytes; at most 64 MiB.
    pub memory_bytes: usize,
    /// Instances in each of the two pools.
    pub instances: u32,
    /// Instances of a pool that calls may hold at one time.
    pub concurrent: u32,
    /// Used slots of a pool that keep their pages for the next call of the same component.
    pub warm: u32,
    /// What the folder of an application may hold, in bytes.
    pub folder_bytes: u64,
}

impl Default for WasmSettings {
    fn default() -> Self {
        let pool = nexus_wasm::PoolSize::default();
        Self {
            compiler: None,
            compilers: 2,
            cache_bytes: 1 << 30,
            memory_bytes: nexus_wasm::MAX_MEMORY_BYTES,
            instances: pool.instances,
            concurrent: pool.concurrent,
            warm: pool.warm,
            folder_bytes: nexus_wasm::FolderLimits::default().bytes,
        }
    }
}

impl WasmSettings {
    /// Small pools, so that many servers fit one machine.
    pub fn for_testing() -> Self {
        Self { instances: 64, concurrent: 32, warm: 16, ..Self::default() }
    }
}

/// The log, on standard error and in the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// What is logged: a level, or directives as `info,nexus_core=debug`.
    pub level: String,
    /// How lines on standard error look.
    pub format: LogFormat,
    /// Bytes that are kept on disk; the oldest go first.
    pub keep_bytes: u64,
    /// How long records are kept on disk.
    #[serde(with = "duration")]
    pub keep: Duration,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Human,
            keep_bytes: 256 << 20,
            keep: Duration::from_hours(7 * 24),
        }
    }
}
