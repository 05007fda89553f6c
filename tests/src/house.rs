//! The server and its models' stand-in, together.

use std::{
    fs::{read_to_string, write},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{Api, FIXTURE_INPUTS, Program, input};

/// The longest that a program may take until it listens.
const START: Duration = Duration::from_mins(1);

/// The longest that a server may take to drain.
const STOP: Duration = Duration::from_secs(40);

/// The longest that the oracle may take to decide.
const DECIDE: Duration = Duration::from_mins(2);

/// How long a replayed answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// As long as it took when it was recorded, with a seeded spread.
    Recorded,
    /// No time at all.
    None,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct HouseOptions {
    /// The folder of the built programs.
    pub programs: PathBuf,
    /// The applications, imported at the start; none leaves the definitions as the data folder has them.
    pub apps: Option<PathBuf>,
    /// The applications whose prompts the replay answers.
    pub replayed: PathBuf,
    /// The recordings of those applications.
    pub recordings: PathBuf,
    /// How long a replayed answer takes.
    pub latency: Latency,
    /// The seed of the replay's latencies and faults.
    pub seed: u64,
    /// Faults of the replay on purpose, as its `--faults` takes them.
    pub faults: &'static str,
    /// Refuse a coder's request whose prompt is not the one that was recorded.
    pub strict_coder: bool,
    /// Where the replay writes requests that have no recording.
    pub missing: Option<PathBuf>,
    /// More settings for the server, YAML at the top level.
    pub settings: String,
    /// The cores of server and replay, as `taskset -c` takes them; all where absent.
    pub cores: Option<(&'static str, &'static str)>,
}

impl HouseOptions {
    /// Applications, all of them imported, whose recordings are answered at once and whatever the coder's prompt is.
    pub fn new(programs: PathBuf, apps: PathBuf, recordings: PathBuf, settings: String) -> Self {
        Self {
            programs,
            apps: Some(apps.clone()),
            replayed: apps,
            recordings,
            latency: Latency::None,
            seed: 7,
            faults: "",
            strict_coder: false,
            missing: None,
            settings,
            cores: None,
        }
    }
}

/// A running server, the replay behind it, and a client with the admin key.
pub struct House {
    options: HouseOptions,
    data: PathBuf,
    /// The stand-in for the provider of models.
    pub replay: Program,
    /// The server.
    pub nexus: Program,
    /// A client of the server, with the admin key.
    pub api: Api,
    /// The admin key.
    pub key: String,
}

impl House {
    /// Starts both; the server keeps its data, its settings and its log in `data`.
    pub fn start(options: HouseOptions, data: &Path) -> Result<Self> {
        Self::start_asking(None, options, data)
    }

    /// The same, but the server asks its models where `other` does, so that both serve one version of each operation.
    pub fn start_beside(other: &Self, options: HouseOptions, data: &Path) -> Result<Self> {
        Self::start_asking(Some(other.replay.said("listening")?), options, data)
    }

    fn start_asking(models: Option<&str>, options: HouseOptions, data: &Path) -> Result<Self> {
        let replay = start_replay(&options, data)?;
        let models = models.map_or_else(|| replay.said("listening"), Ok)?;
        write(data.join("nexus.yaml"), settings(models, &options.settings))?;
        let nexus = start_nexus(&options, data)?;
        let key = admin_key(&nexus)?;
        let api = Api::new(nexus.said("listening")?, Some(&key));
        Ok(Self { options, data: data.to_owned(), replay, nexus, api, key })
    }

    /// Where the server keeps its state.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// The settings that are in force.
    pub fn settings(&self) -> Result<Value> {
        let mut command = program(&self.options, "nexus", None)?;
        command.args(["serve", "--json", "--print-config", "--config"]).arg(self.data.join("nexus.yaml"));
        let output = command.output().context("nexus cannot be started")?;
        serde_json::from_slice(&output.stdout).context("the settings are no JSON")
    }

    /// Sends the fixture's first inputs to an operation and waits until the oracle has decided; what it decided.
    pub fn teach(&self, app: &str, operation: &str) -> Result<String> {
        for number in 0..FIXTURE_INPUTS {
            self.api.call(app, operation, &input(operation, number))?.success()?;
        }
        self.decision(app, operation)
    }

    /// Waits until the oracle has decided about an operation; what it decided.
    pub fn decision(&self, app: &str, operation: &str) -> Result<String> {
        let deadline = Instant::now() + DECIDE;
        loop {
            let status = self.api.optimization(app, operation)?;
            let state = status["state"].as_str().unwrap_or_default();
            if !matches!(state, "profiling" | "compiling") {
                return Ok(state.to_owned());
            }
            if Instant::now() > deadline {
                bail!("{app}/{operation} is still {state}: {status}\n{}", self.nexus.tail(20));
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Lets the server end in its own time and starts it again on the same state.
    pub fn restart(self) -> Result<Self> {
        let Self { options, data, replay, nexus, key, .. } = self;
        nexus.stop(STOP)?;
        let nexus = start_nexus(&options, &data)?;
        let api = Api::new(nexus.said("listening")?, Some(&key));
        Ok(Self { options, data, replay, nexus, api, key })
    }

    /// Kills the server (SIGKILL) and starts it again on the same state.
    pub fn crash(self) -> Result<Self> {
        let Self { options, data, replay, nexus, key, .. } = self;
        drop(nexus);
        let nexus = start_nexus(&options, &data)?;
        let api = Api::new(nexus.said("listening")?, Some(&key));
        Ok(Self { options, data, replay, nexus, api, key })
    }

    /// Kills the server in whatever it does (SIGKILL).
    pub fn kill(self) -> Fallen {
        let Self { options, data, replay, nexus, key, .. } = self;
        drop(nexus);
        Fallen { options, data, replay, key }
    }

    /// As [`House::restart`], but the applications are what the data folder has; no plain folder is watched.
    pub fn restart_without_apps(mut self) -> Result<Self> {
        self.options.apps = None;
        self.restart()
    }

    /// Ends both, the server after it has drained.
    pub fn stop(self) -> Result<()> {
        self.nexus.stop(STOP)
    }
}

/// A house whose server was killed.
pub struct Fallen {
    options: HouseOptions,
    data: PathBuf,
    replay: Program,
    key: String,
}

impl Fallen {
    /// Where the server kept its state.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// Starts the server again on what it left.
    pub fn start(self) -> Result<House> {
        let Self { options, data, replay, key } = self;
        let nexus = start_nexus(&options, &data)?;
        let api = Api::new(nexus.said("listening")?, Some(&key));
        Ok(House { options, data, replay, nexus, api, key })
    }
}

fn start_replay(options: &HouseOptions, data: &Path) -> Result<Program> {
    let mut command = program(options, "nexus-replay", options.cores.map(|(_, replay)| replay))?;
    command.arg("--apps").arg(&options.replayed).arg("--recordings").arg(&options.recordings);
    command.args(["--listen", "127.0.0.1:0", "--seed", &options.seed.to_string()]);
    command.args(["--faults", options.faults]);
    command.args(["--latency", if options.latency == Latency::Recorded { "recorded" } else { "none" }]);
    if options.strict_coder {
        command.arg("--strict-coder");
    }
    if let Some(folder) = &options.missing {
        command.arg("--missing").arg(folder);
    }
    Program::start("nexus-replay", &mut command, &data.join("replay.log"), START)
}

fn start_nexus(options: &HouseOptions, data: &Path) -> Result<Program> {
    let mut command = program(options, "nexus", options.cores.map(|(nexus, _)| nexus))?;
    command.args(["serve", "--json", "--listen", "127.0.0.1:0"]);
    command.arg("--config").arg(data.join("nexus.yaml")).arg("--data-dir").arg(data.join("store"));
    if let Some(apps) = &options.apps {
        command.arg("--apps").arg(apps);
    }
    Program::start("nexus", &mut command, &data.join("nexus.log"), START)
}

fn program(options: &HouseOptions, name: &str, cores: Option<&str>) -> Result<Command> {
    let path = options.programs.join(name);
    if !path.exists() {
        bail!("{} is not there; build it with `cargo xtask build`", path.display());
    }
    Ok(match cores {
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores]).arg(path);
            command
        }
        None => Command::new(path),
    })
}

fn admin_key(nexus: &Program) -> Result<String> {
    let path = nexus.said("admin_key_file")?;
    Ok(read_to_string(path).with_context(|| format!("the admin key in {path} cannot be read"))?.trim().to_owned())
}

/// The server's settings: the two aliases that the sample applications use, at list prices of the day given.
fn settings(replay: &str, more: &str) -> String {
    format!(
        "models:
  small:
    endpoint: \"{replay}/v1\"
    model: small
    price: {{ input_usd_per_million: 0.15, output_usd_per_million: 0.60, as_of: 2026-06-01 }}
  coder:
    endpoint: \"{replay}/v1\"
    model: coder
    price: {{ input_usd_per_million: 3.00, output_usd_per_million: 15.00, as_of: 2026-06-01 }}
{more}"
    )
}
