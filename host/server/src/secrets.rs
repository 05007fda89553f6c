//! Secrets that an operator gives: variables and files. And the order in which all sources are asked. Whatever is found
//! here is masked in all that is said from then on.
//!
//! A secret `crm-token` of the application `order-desk` is the variable `NEXUS_SECRET_ORDER_DESK__CRM_TOKEN` or the file
//! `order-desk/crm-token` in the folder of secrets; one of the host is `NEXUS_SECRET_CRM_TOKEN` or the file `crm-token`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use nexus_llm::KeyReference;
use nexus_model::{SecretName, SecretOwner, SecretSource};
use nexus_signals::Redactor;
use secrecy::{ExposeSecret, SecretString};

use crate::environment::Environment;

/// What variables of secrets begin with.
const PREFIX: &str = "NEXUS_SECRET_";
/// The longest secret in a file, in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Files that are listed at the most.
const MAX_FILES: usize = 10_000;

/// Asks one source after the other; the first that knows the name answers. The only way by which this program comes to a
/// secret's value, so that none is opened which the log does not know to mask.
#[derive(Clone)]
pub(crate) struct AllSecrets {
    sources: Vec<Arc<dyn SecretSource>>,
    environment: Environment,
    redactor: Redactor,
}

impl AllSecrets {
    /// What the operator gives: variables, then files.
    pub(crate) fn of_operator(dir: &Path, environment: &Environment, redactor: &Redactor) -> Self {
        let sources: [Arc<dyn SecretSource>; 2] =
            [Arc::new(EnvironmentSecrets(environment.clone())), Arc::new(FileSecrets(dir.to_owned()))];
        Self { sources: sources.into(), environment: environment.clone(), redactor: redactor.clone() }
    }

    /// The same behind `first`.
    pub(crate) fn behind(mut self, first: Arc<dyn SecretSource>) -> Self {
        self.sources.insert(0, first);
        self
    }

    /// What masks all values that were found.
    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    pub(crate) fn find(&self, owner: &SecretOwner, name: &SecretName) -> Option<SecretString> {
        self.known(self.sources.iter().find_map(|source| source.find(owner, name)))
    }

    /// The value that a reference names; `None` if there is none. A file and a secret are looked up each time, so that a
    /// rotated key is found.
    pub(crate) fn resolve(&self, reference: &KeyReference) -> Option<SecretString> {
        self.known(match reference {
            KeyReference::Env(name) => self.environment.get(name).map(SecretString::from),
            KeyReference::File(path) => {
                let text = std::fs::read_to_string(path).ok()?;
                Some(text.trim()).filter(|key| !key.is_empty()).map(SecretString::from)
            }
            KeyReference::Secret(name) => self.find(&SecretOwner::Host, name),
        })
    }

    fn known(&self, found: Option<SecretString>) -> Option<SecretString> {
        found.inspect(|value| self.redactor.learn(value.expose_secret()))
    }

    /// All names of an owner with the kind of the source that answers for each, by name.
    pub(crate) fn names(&self, owner: &SecretOwner) -> Vec<(SecretName, &'static str)> {
        let mut found: Vec<(SecretName, &'static str)> = Vec::new();
        for source in &self.sources {
            for name in source.names(owner) {
                if !found.iter().any(|(known, _)| *known == name) {
                    found.push((name, source.kind()));
                }
            }
        }
        found.sort();
        found
    }
}

/// Secrets in variables.
struct EnvironmentSecrets(Environment);

impl SecretSource for EnvironmentSecrets {
    fn kind(&self) -> &'static str {
        "environment"
    }

    fn find(&self, owner: &SecretOwner, name: &SecretName) -> Option<SecretString> {
        self.0.get(&format!("{}{}", stem(owner), shouted(name.as_str()))).map(SecretString::from)
    }

    fn names(&self, owner: &SecretOwner) -> Vec<SecretName> {
        let stem = stem(owner);
        let found = self.0.of_nexus().filter_map(|(name, _)| {
            let rest = format!("NEXUS_{name}").strip_prefix(&stem)?.to_owned();
            rest.to_lowercase().replace('_', "-").parse().ok().filter(|_| !rest.contains("__"))
        });
        found.collect()
    }
}

/// What the variables of an owner begin with.
fn stem(owner: &SecretOwner) -> String {
    match owner {
        SecretOwner::Host => PREFIX.to_owned(),
        SecretOwner::App(app) => format!("{PREFIX}{}__", shouted(app.as_str())),
    }
}

fn shouted(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Secrets in files, one each; a line end at the end is cut off. Read each time, so that a changed file works at once.
struct FileSecrets(PathBuf);

impl FileSecrets {
    fn folder(&self, owner: &SecretOwner) -> PathBuf {
        match owner {
            SecretOwner::Host => self.0.clone(),
            SecretOwner::App(app) => self.0.join(app.as_str()),
        }
    }
}

impl SecretSource for FileSecrets {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn find(&self, owner: &SecretOwner, name: &SecretName) -> Option<SecretString> {
        read(&self.folder(owner).join(name.as_str()))
    }

    fn names(&self, owner: &SecretOwner) -> Vec<SecretName> {
        let Ok(entries) = std::fs::read_dir(self.folder(owner)) else { return Vec::new() };
        let files = entries.take(MAX_FILES).flatten().filter(|entry| entry.path().is_file());
        files.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

fn read(path: &Path) -> Option<SecretString> {
    let mut text = String::new();
    let read = File::open(path).ok()?.take(MAX_BYTES + 1).read_to_string(&mut text).ok()? as u64;
    let value = text.trim_end_matches(['\r', '\n']);
    (read <= MAX_BYTES && !value.is_empty()).then(|| SecretString::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> SecretOwner {
        SecretOwner::App("order-desk".parse().unwrap())
    }

    #[test]
    fn the_first_source_that_knows_a_name_answers_and_each_owner_has_its_own() {
        let environment: Environment = [
            ("NEXUS_SECRET_CRM_TOKEN", "of the host"),
            ("NEXUS_SECRET_ORDER_DESK__CRM_TOKEN", "of the application"),
            ("NEXUS_SECRET_EMPTY", ""),
        ]
        .into_iter()
        .collect();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("order-desk")).unwrap();
        for (file, text) in [("crm-token", "shadowed\n"), ("order-desk/erp", "in a file\r\n"), ("Not-A-Name", "x")] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let redactor = Redactor::default();
        let all = AllSecrets::of_operator(dir.path(), &environment, &redactor);
        let find = |owner: &SecretOwner, name: &str| {
            all.find(owner, &name.parse().unwrap()).map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(redactor.redact("in a file, of the host"), "in a file, of the host", "nothing was opened yet");
        assert_eq!(find(&SecretOwner::Host, "crm-token").as_deref(), Some("of the host"));
        assert_eq!(find(&app(), "crm-token").as_deref(), Some("of the application"));
        assert_eq!(find(&app(), "erp").as_deref(), Some("in a file"));
        assert_eq!(redactor.redact("in a file, of the host"), "***, ***");
        assert_eq!(find(&SecretOwner::Host, "erp"), None);
        assert_eq!(find(&SecretOwner::Host, "empty"), None);
        let names =
            |owner| all.names(owner).into_iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>();
        assert_eq!(names(&SecretOwner::Host), ["crm-token environment"]);
        assert_eq!(names(&app()), ["crm-token environment", "erp files"]);
    }
}
