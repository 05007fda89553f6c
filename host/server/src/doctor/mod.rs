//! What is configured, reachable and missing, and how it is mended.
//!
//! Nothing is changed, but that a runtime store which is opened after a crash recovers, as it does when a server starts.
//! Every look at a network has a bound, and all run at the same time.

mod data;
mod definitions;
mod finding;
mod machine;
mod models;
mod network;
mod sandboxes;
mod secrets;
mod store;

use std::{sync::Arc, time::Duration};

use nexus_signals::Redactor;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::finding::{Finding, Outcome};
use self::{data::Hold, network::Web};
use crate::{
    environment::Environment,
    secrets::AllSecrets,
    settings::{Settings, SettingsError, Sources},
};

/// How many times as long a model may take for its answer as an endpoint for any answer at all.
const LIVE: u32 = 6;

/// What to look at.
#[derive(Debug)]
pub(crate) struct Examination {
    /// Where the settings come from.
    pub(crate) sources: Sources,
    pub(crate) environment: Environment,
    /// Learns each secret that is opened.
    pub(crate) redactor: Redactor,
    /// Whether models are asked something, which may cost money.
    pub(crate) live: bool,
    /// How long each look at a network may take.
    pub(crate) patience: Duration,
}

impl Examination {
    /// Looks at everything. Where the settings cannot be read, what depends on them is left out.
    pub(crate) async fn run(self) -> Vec<Finding> {
        match self.sources.load(&self.environment) {
            Ok((settings, warnings)) => {
                let mut findings = vec![machine::settings(&self.sources, &self.environment, &settings)];
                findings.extend(
                    warnings.into_iter().map(|warning| {
                        Finding::warn("settings", warning, "correct the variable's name, or take it out")
                    }),
                );
                findings.extend(self.examine(&settings).await);
                findings
            }
            Err(error) => vec![unreadable(&error), machine::kernel(nexus_wasm::pagemap_scan_available())],
        }
    }

    async fn examine(&self, settings: &Settings) -> Vec<Finding> {
        let tasks = (TaskTracker::new(), CancellationToken::new());
        let (hold, directory) = data::look(&settings.data_dir);
        let web = Web::new(self.patience);
        let taken = matches!(hold, Hold::Server);
        let own = self.own(settings, hold, &tasks);
        let (own, reached, listen, collector, compiler) = tokio::join!(
            own,
            models::reach(settings, &web),
            network::listen(settings.listen, taken, &web),
            network::collector(settings, &self.environment, &web),
            machine::compiler(settings, &tasks.0),
        );
        tasks.1.cancel();
        let mut findings = vec![directory];
        findings.extend(own);
        findings.extend(reached);
        findings.extend([listen].into_iter().chain(collector));
        findings.extend([compiler, machine::kernel(nexus_wasm::pagemap_scan_available())]);
        findings.extend(web.clock());
        findings
    }

    /// Looks at what belongs to this host: keys, store, definitions, secrets, and what can only be asked with them.
    /// The data directory is let go of as soon as the store has been read, so that a server can start.
    async fn own(&self, settings: &Settings, hold: Hold, tasks: &(TaskTracker, CancellationToken)) -> Vec<Finding> {
        let (master, sealed) = data::master_key(settings, &self.environment, &self.redactor);
        let of_operator = AllSecrets::of_operator(&settings.secrets_dir, &self.environment, &self.redactor);
        let (opened, stored) = store::look(settings, &hold, &of_operator, tasks).await;
        let (vault, vaulted) = store::vault(opened.as_ref(), master.as_ref()).await;
        let closed = store::close(opened).await;
        drop(hold);
        let (definitions, defined) = definitions::look(settings).await;
        let all = match &vault {
            Some(vault) => of_operator.behind(Arc::clone(vault) as _),
            None => of_operator,
        };
        let mut findings = vec![sealed];
        findings.extend(stored.into_iter().chain(vaulted).chain(closed).chain(defined));
        let known = secrets::Known { all: &all, has_store: vault.is_some() };
        findings.extend(secrets::look(settings, &definitions.apps, &known));
        findings.push(sandboxes::look(settings, &definitions.apps, &tasks.0).await);
        findings.extend(definitions::remote(settings, &definitions, &known, self.patience).await);
        if self.live {
            findings.extend(models::ask(settings, all, self.patience * LIVE).await);
        }
        findings
    }
}

fn unreadable(error: &SettingsError) -> Finding {
    let mend = match error {
        SettingsError::Unreadable { .. } => "name the file with --config, and let this user read it",
        SettingsError::File { .. } => "correct that place in the file; `nexus serve --print-config` shows all settings",
        SettingsError::Override { .. } => "correct the flag or the variable",
        SettingsError::Values(_) => "correct these values",
    };
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Finding::fail("settings", format!("{error}{source}"), mend)
}
