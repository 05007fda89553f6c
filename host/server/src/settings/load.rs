//! From a file, the environment and flags to settings, with an error that names the place.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::Settings;
use crate::environment::Environment;

/// Variables that begin with `NEXUS_` and are no settings of a server.
const OTHERS: [&str; 4] = ["CONFIG", "KEY", "MASTER_KEY", "URL"];
/// What the variables of secrets begin with, behind `NEXUS_`.
const SECRETS: &str = "SECRET_";
/// The file that is read when none is named.
const DEFAULT_FILE: &str = "nexus.yaml";

/// Why there are no settings.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("the settings `{}` cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// In characters, from 1.
        column: u64,
        /// What is wrong.
        message: String,
        /// What the file says.
        #[source_code]
        text: Arc<miette::NamedSource<String>>,
        /// Where it says it.
        #[label("here")]
        place: miette::SourceSpan,
    },
    /// A variable or a flag is not what it should be.
    #[error("{origin}: {message}")]
    Override {
        /// The variable or the flag.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// The values are well-formed, but cannot be.
    #[error("{}", .0.join("; "))]
    Values(Vec<String>),
}

/// One value that is set over what the file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// Where it comes from, as `--listen` or `NEXUS_LISTEN`.
    pub origin: String,
    /// The names on the way to the setting, outermost first.
    pub path: Vec<String>,
    /// The value as text: YAML, or else a string.
    pub value: String,
}

impl Override {
    /// A setting by its dotted path.
    pub fn new(origin: impl Into<String>, path: &str, value: impl Into<String>) -> Self {
        let path = path.split('.').map(str::to_owned).collect();
        Self { origin: origin.into(), path, value: value.into() }
    }
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that was named; otherwise `NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    pub file: Option<PathBuf>,
    /// What flags say.
    pub flags: Vec<Override>,
}

impl Sources {
    /// Reads the file, then lays the environment and the flags over it. The second value holds warnings: variables that
    /// look like settings and are none.
    pub fn load(&self, environment: &Environment) -> Result<(Settings, Vec<String>), SettingsError> {
        let (mut tree, mut settings) = match self.text(environment)? {
            Some((path, text)) => (parse(&path, &text)?, parse(&path, &text)?),
            None => (Value::Object(Map::new()), Settings::default()),
        };
        let (variables, warnings) = variables(environment);
        for layer in variables.iter().chain(&self.flags) {
            settings = lay_over(&mut tree, layer)?;
        }
        let faults = settings.faults();
        if faults.is_empty() { Ok((settings, warnings)) } else { Err(SettingsError::Values(faults)) }
    }

    /// The file that is read, if there is one.
    pub(crate) fn file(&self, environment: &Environment) -> Option<PathBuf> {
        let found = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
        self.file.clone().or_else(|| environment.get("NEXUS_CONFIG").map(PathBuf::from)).or_else(found)
    }

    fn text(&self, environment: &Environment) -> Result<Option<(PathBuf, String)>, SettingsError> {
        let Some(path) = self.file(environment) else { return Ok(None) };
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Ok(Some((path, text))),
            Err(source) => Err(SettingsError::Unreadable { path, source }),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, SettingsError> {
    yaml(text).map_err(|error| {
        let place = error.location();
        let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
        let offset = miette::SourceOffset::from_location(text, to_index(line), to_index(column));
        SettingsError::File {
            path: path.to_owned(),
            line,
            column,
            message: first_line(&error.without_snippet().to_string()),
            text: Arc::new(miette::NamedSource::new(path.to_string_lossy(), text.to_owned())),
            place: (offset.offset().min(text.len()), 0).into(),
        }
    })
}

/// Of YAML 1.2: `off` is a word.
fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
}

fn to_index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The first line of a message, its place cut off: that is told beside it.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.rsplit_once(" at line ").map_or(line, |(before, _)| before).trim_end_matches([':', ',']).to_owned()
}

/// `NEXUS_LIMITS__BODY_BYTES` is `limits.body_bytes`. What does not begin with the name of a setting is somebody else's
/// (Kubernetes sets `NEXUS_PORT` for a service called nexus), so it is only warned of.
fn variables(environment: &Environment) -> (Vec<Override>, Vec<String>) {
    let known = serde_json::to_value(Settings::default()).unwrap_or_default();
    let mut warnings = Vec::new();
    let mut found = Vec::new();
    let settings = environment.of_nexus().filter(|(name, _)| !OTHERS.contains(name) && !name.starts_with(SECRETS));
    for (name, value) in settings {
        let path: Vec<String> = name.to_lowercase().split("__").map(str::to_owned).collect();
        if path.first().is_some_and(|first| known.get(first).is_some()) {
            found.push(Override { origin: format!("NEXUS_{name}"), path, value: value.to_owned() });
        } else {
            warnings.push(format!("NEXUS_{name} is not the name of a setting and was passed over"));
        }
    }
    (found, warnings)
}

fn lay_over(tree: &mut Value, layer: &Override) -> Result<Settings, SettingsError> {
    let error = |message: String| SettingsError::Override { origin: layer.origin.clone(), message };
    let typed: Value = yaml(&layer.value).unwrap_or_else(|_| layer.value.clone().into());
    put(tree, &layer.path, typed).ok_or_else(|| error(format!("`{}` is not a setting", layer.path.join("."))))?;
    serde_json::from_value(tree.clone()).or_else(|refused| {
        // What reads as a number may be meant as text.
        put(tree, &layer.path, layer.value.clone().into());
        serde_json::from_value(tree.clone()).map_err(|_| error(refused.to_string()))
    })
}

fn put(tree: &mut Value, path: &[String], value: Value) -> Option<()> {
    let (last, way) = path.split_last()?;
    let mut at = tree;
    for name in way {
        let entry = at.as_object_mut()?.entry(name.clone()).or_insert(Value::Null);
        if entry.is_null() {
            *entry = Value::Object(Map::new());
        }
        at = entry;
    }
    at.as_object_mut()?.insert(last.clone(), value);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Environment, Override, Settings, Sources};
    use crate::settings::SandboxDriver;

    fn load(file: &str, variables: &[(&str, &str)], flags: Vec<Override>) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nexus.yaml");
        std::fs::write(&path, file).unwrap();
        let environment: Environment = variables.iter().copied().collect();
        let loaded = Sources { file: Some(path), flags }.load(&environment);
        loaded.map(|(settings, _)| settings).map_err(|error| error.to_string())
    }

    #[test]
    fn the_later_wins() {
        let file = "listen: 127.0.0.1:1\nlimits:\n  drain: 5s\n  body_bytes: 10\n";
        let variables = [("NEXUS_LISTEN", "127.0.0.1:2"), ("NEXUS_LIMITS__BODY_BYTES", "20"), ("NEXUS_DATA_DIR", "/x")];
        let settings = load(file, &variables, vec![Override::new("--listen", "listen", "127.0.0.1:3")]).unwrap();
        assert_eq!(settings.listen.port(), 3);
        assert_eq!(settings.limits.body_bytes, 20);
        assert_eq!(settings.limits.drain, Duration::from_secs(5));
        assert_eq!(settings.limits.in_flight, 1024);
        assert_eq!(settings.data_dir.to_str(), Some("/x"));
    }

    #[test]
    fn a_word_is_no_boolean() {
        let settings = load("sandbox: { driver: off, allow_tags: true }\n", &[], Vec::new()).unwrap();
        assert_eq!((settings.sandbox.driver, settings.sandbox.allow_tags), (SandboxDriver::Off, true));
        assert!(load("sandbox: { allow_tags: yes }\n", &[], Vec::new()).is_err());
    }

    #[test]
    fn an_error_names_its_place() {
        let error = load("listen: 127.0.0.1:1\nlimits:\n  body_byte: 10\n", &[], Vec::new()).unwrap_err();
        assert!(error.contains("nexus.yaml:3:3: ") && error.contains("body_byte"), "{error}");
        let error = load("listen: nowhere\n", &[], Vec::new()).unwrap_err();
        assert!(error.contains("nexus.yaml:1:9: "), "{error}");
        let error = load("", &[("NEXUS_LIMITS__BODY_BYTES", "much")], Vec::new()).unwrap_err();
        assert!(error.starts_with("NEXUS_LIMITS__BODY_BYTES: "), "{error}");
        let error = load("", &[], vec![Override::new("--set", "limits.bodies", "1")]).unwrap_err();
        assert!(error.starts_with("--set: unknown field `bodies`"), "{error}");
        let error = load("", &[], vec![Override::new("--listen", "listen", "here")]).unwrap_err();
        assert!(error.starts_with("--listen: "), "{error}");
    }

    #[test]
    fn a_server_without_keys_stays_at_home() {
        let error =
            load("listen: 0.0.0.0:1\ninsecure_local: true\nlimits: { in_flight: 0 }\n", &[], Vec::new()).unwrap_err();
        assert!(error.contains("insecure_local") && error.contains("in_flight"), "{error}");
    }

    #[test]
    fn a_variable_of_somebody_else_is_passed_over() {
        let environment: Environment =
            [("NEXUS_PORT", "tcp://10.0.0.1:80"), ("NEXUS_KEY", "nxs_"), ("NEXUS_SECRET_CRM", "x")]
                .into_iter()
                .collect();
        let (_, warnings) = Sources::default().load(&environment).unwrap();
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn models_are_read_and_shown_without_their_keys() {
        let file =
            "models:\n  small:\n    endpoint: http://127.0.0.1:9/v1\n    model: m\n    key: { env: SMALL_KEY }\n";
        let settings = load(file, &[("SMALL_KEY", "canary")], Vec::new()).unwrap();
        let shown = serde_json::to_string(&settings).unwrap();
        assert!(shown.contains("SMALL_KEY") && !shown.contains("canary"), "{shown}");
        assert!(serde_json::from_str::<Settings>(&shown).is_ok(), "{shown}");
    }

    #[test]
    fn one_line_chooses_the_store_and_no_password_is_shown() {
        assert_eq!(load("", &[], Vec::new()).unwrap().store.to_string(), "embedded");
        let file = "store: redis://127.0.0.1:6379\nredis: { password: { env: REDIS_PASSWORD }, deadline: 300ms }\n";
        let settings = load(file, &[("REDIS_PASSWORD", "canary")], Vec::new()).unwrap();
        let shown = serde_json::to_string(&settings).unwrap();
        assert!(shown.contains("redis://127.0.0.1:6379") && shown.contains("REDIS_PASSWORD"), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
        assert!(serde_json::from_str::<Settings>(&shown).is_ok(), "{shown}");
        let flag = vec![Override::new("--store", "store", "redis+cluster://a:1,b:2")];
        assert_eq!(load(file, &[], flag).unwrap().store.to_string(), "redis+cluster://a:1,b:2");

        let error = load("listen: 127.0.0.1:1\nstore: mysql://db\n", &[], Vec::new()).unwrap_err();
        assert!(error.contains("nexus.yaml:2:8: ") && error.contains("`redis://HOST:PORT`"), "{error}");
        let error = load("", &[("NEXUS_STORE", "redis://host:port")], Vec::new()).unwrap_err();
        assert!(error.starts_with("NEXUS_STORE: ") && error.contains("host:port"), "{error}");
        let error = load("store: redis://:canary@host\nredis: { in_flight: 0 }\n", &[], Vec::new()).unwrap_err();
        assert!(error.contains("redis.in_flight") && error.contains("password: { env"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}
