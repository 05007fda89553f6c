//! The definitions: every file of the newest commit can be read, and makes a valid application; and so does the folder
//! that is imported; and the remote answers.

use std::{collections::BTreeMap, path::Path, time::Duration};

use nexus_definitions::{Fault, Surroundings, load_with};
use nexus_model::{App, AppName, DefinitionError, DefinitionStore, FileTree, RemoteError};
use nexus_state::{GitDefinitions, GitRemote, OpenError, folder::read_apps};

use super::{Finding, secrets::Known};
use crate::settings::Settings;

const CHECK: &str = "definitions";

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Defined {
    /// The repository, if there is one.
    repository: Option<GitDefinitions>,
    /// The applications without faults.
    pub(super) apps: Vec<App>,
}

/// Looks at the repository, and at the folder of the setting `apps`.
pub(super) async fn look(settings: &Settings) -> (Defined, Vec<Finding>) {
    let path = settings.repository();
    let mut defined = Defined::default();
    let mut findings = repository(&path, settings, &mut defined).await;
    findings.extend(settings.apps.as_ref().map(|folder| imported(folder, settings)).unwrap_or_default());
    (defined, findings)
}

async fn repository(path: &Path, settings: &Settings, defined: &mut Defined) -> Vec<Finding> {
    if is_vacant(path) {
        return vec![Finding::ok(CHECK, format!("`{}` is not there yet; the first start makes it", path.display()))];
    }
    let repository = match GitDefinitions::open(path) {
        Ok(repository) => repository,
        Err(OpenError::Repository { source, .. }) => return vec![damaged(path, source.message())],
        Err(error) => {
            return vec![Finding::fail(
                CHECK,
                error.to_string(),
                "let the server's user read and write the repository",
            )];
        }
    };
    let findings = match read(&repository).await {
        Ok(files) => judge(CHECK, &path.display().to_string(), &files, settings, &mut defined.apps),
        Err(error) => vec![damaged(path, &error.to_string())],
    };
    defined.repository = Some(repository);
    findings
}

fn is_vacant(path: &Path) -> bool {
    !path.exists() || path.read_dir().is_ok_and(|mut entries| entries.next().is_none())
}

/// All files of the newest commit.
async fn read(repository: &GitDefinitions) -> Result<BTreeMap<AppName, FileTree>, DefinitionError> {
    let mut files = BTreeMap::new();
    for app in repository.apps().await?.into_keys() {
        if let Some(snapshot) = repository.read(&app).await? {
            files.insert(app, snapshot.files);
        }
    }
    Ok(files)
}

fn damaged(path: &Path, reason: &str) -> Finding {
    let found = format!("`{}` is damaged or is no Git repository: {reason}", path.display());
    let mend = format!(
        "git -C {0} fsck --full; restore it from a backup, a clone or the remote, or move it away to start empty",
        path.display()
    );
    Finding::fail(CHECK, found, mend)
}

/// The folder that is imported at the start and on change.
fn imported(folder: &Path, settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "apps folder";
    match read_apps(folder) {
        Ok(files) if files.is_empty() => {
            let found = format!("`{}` holds no application", folder.display());
            vec![Finding::fail(CHECK, found, "an application is a folder with an `app.yaml`: correct `apps`")]
        }
        Ok(files) => judge(CHECK, &folder.display().to_string(), &files, settings, &mut Vec::new()),
        Err(error) => vec![Finding::fail(CHECK, error.to_string(), "correct `apps`, or let the server's user read it")],
    }
}

/// Checks applications as `nexus check` does; the valid ones are added to `valid`.
fn judge(
    check: &str,
    place: &str,
    files: &BTreeMap<AppName, FileTree>,
    settings: &Settings,
    valid: &mut Vec<App>,
) -> Vec<Finding> {
    let models: Vec<String> = settings.models.keys().cloned().collect();
    let names: Vec<AppName> = files.keys().cloned().collect();
    let mut findings = Vec::new();
    let before = valid.len();
    for (name, tree) in files {
        match load_with(tree, Surroundings { folder: Some(name), models: Some(&models), apps: Some(&names) }) {
            Ok(app) => valid.push(app),
            Err(faults) => findings.push(faulty(check, name, &faults)),
        }
    }
    let count = valid.len() - before;
    let plural = if count == 1 { "" } else { "s" };
    findings.insert(0, Finding::ok(check, format!("`{place}`: {count} application{plural} without faults")));
    findings
}

fn faulty(check: &str, app: &AppName, faults: &[Fault]) -> Finding {
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let found = match faults.len() {
        1 => format!("{app}: {first}"),
        count => format!("{app}: {count} faults, the first: {first}"),
    };
    Finding::fail(check, found, "`nexus check DIR --config FILE` shows all faults; correct the files there")
}

/// Asks the remote of the definitions for its branches.
pub(super) async fn remote(
    settings: &Settings,
    defined: &Defined,
    known: &Known<'_>,
    patience: Duration,
) -> Option<Finding> {
    const CHECK: &str = "definitions remote";
    let set = settings.definitions.remote.as_ref()?;
    let Some(repository) = &defined.repository else {
        return Some(Finding::ok(CHECK, format!("{} is asked once there is a repository here", set.url)));
    };
    let password = set.password.as_ref().and_then(|reference| known.resolve(reference));
    let remote = match GitRemote::new(repository.clone(), set.config(password)) {
        Ok(remote) => remote,
        Err(error) => return Some(Finding::fail(CHECK, error.to_string(), "correct `definitions.remote`")),
    };
    let mend = "correct `definitions.remote`, or start the server there";
    Some(match tokio::time::timeout(patience, remote.reach()).await {
        Ok(Ok(())) => Finding::ok(CHECK, format!("{} answers", set.url)),
        Ok(Err(RemoteError::Unreachable(reason))) => {
            Finding::fail(CHECK, format!("{} cannot be used: {reason}", set.url), mend)
        }
        Ok(Err(error)) => Finding::fail(CHECK, error.to_string(), mend),
        Err(_) => Finding::fail(CHECK, format!("{} gives no answer within {} s", set.url, patience.as_secs()), mend),
    })
}
