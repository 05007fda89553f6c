//! Who asks a registry: whoever `docker login` has logged in there.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
    process::Stdio,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use nexus_signals::Redactor;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::PullError;
use crate::environment::Environment;

/// The variable that holds a configuration of Docker's, before any file.
const VARIABLE: &str = "DOCKER_AUTH_CONFIG";
/// The largest configuration, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// How long a credential helper may take; it may be asking somebody.
const HELPER_TIMEOUT: Duration = Duration::from_mins(1);

/// The login for a registry by Docker's configuration; anonymous where that knows none. A login is only told to
/// the registry that it is written down for.
pub(super) async fn find(
    registry: &str,
    environment: &Environment,
    redactor: &Redactor,
) -> Result<RegistryAuth, PullError> {
    let found = match config(environment) {
        Ok(Some(config)) => of_config(&config, registry).await,
        nothing => nothing.map(|_| None),
    };
    let found = found.map_err(|reason| PullError::Login { registry: registry.to_owned(), reason })?;
    Ok(found.map_or(RegistryAuth::Anonymous, |Login { username, secret }| {
        redactor.learn(&secret);
        RegistryAuth::Basic(username, secret)
    }))
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Login {
    username: String,
    secret: String,
}

/// Docker's configuration, if there is one.
fn config(environment: &Environment) -> Result<Option<Value>, String> {
    if let Some(text) = environment.get(VARIABLE) {
        return serde_json::from_str(text).map(Some).map_err(|error| format!("{VARIABLE}: {error}"));
    }
    let home = || environment.get("HOME").map(|home| Path::new(home).join(".docker"));
    let Some(folder) = environment.get("DOCKER_CONFIG").map(Into::into).or_else(home) else { return Ok(None) };
    let path = folder.join("config.json");
    let wrong = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| wrong(&error))?,
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(|error| wrong(&error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| wrong(&error))
}

async fn of_config(config: &Value, registry: &str) -> Result<Option<Login>, String> {
    let (key, entry) = written(&config["auths"], registry).unzip();
    let own = written(&config["credHelpers"], registry).and_then(|(_, helper)| helper.as_str());
    let told = match own.or_else(|| config["credsStore"].as_str()) {
        Some(helper) => of_helper(helper, key.unwrap_or(registry)).await?,
        None => None,
    };
    match told.or_else(|| of_entry(entry?)) {
        Some(login) if login.username == "<token>" => {
            Err("it is an identity token, and a user's name with a password or an access token is needed".to_owned())
        }
        login => Ok(login),
    }
}

/// What is written down for a registry, and under which name: its host, or a URL on it.
fn written<'a>(entries: &'a Value, registry: &str) -> Option<(&'a str, &'a Value)> {
    let host = |name: &'a str| {
        let name = name.split_once("://").map_or(name, |(_, rest)| rest);
        name.split_once('/').map_or(name, |(host, _)| host)
    };
    let mut entries = entries.as_object()?.iter().map(|(name, entry)| (name.as_str(), entry));
    entries.find(|(name, _)| host(name) == registry)
}

fn of_entry(entry: &Value) -> Option<Login> {
    let login = |username: &str, secret: &str| Login { username: username.to_owned(), secret: secret.to_owned() };
    if let (Some(username), Some(password)) = (entry["username"].as_str(), entry["password"].as_str()) {
        return Some(login(username, password));
    }
    let text = String::from_utf8(STANDARD.decode(entry["auth"].as_str()?).ok()?).ok()?;
    text.split_once(':').map(|(username, password)| login(username, password))
}

/// What a credential helper of Docker's knows (<https://github.com/docker/docker-credential-helpers>); it ends with an error
/// where it knows nothing.
async fn of_helper(helper: &str, registry: &str) -> Result<Option<Login>, String> {
    let program = format!("docker-credential-{helper}");
    let wrong = |why: &str| format!("`{program}`, which Docker's configuration names, {why}");
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(wrong("is no name of a credential helper"));
    }
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| wrong(&format!("cannot be started: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // One that ends without reading has said so by its exit code.
        let _ = input.write_all(registry.as_bytes()).await;
    }
    let ended =
        timeout(HELPER_TIMEOUT, child.wait_with_output()).await.map_err(|_| wrong("took more than a minute"))?;
    let output = ended.map_err(|error| wrong(&error.to_string()))?;
    if !output.status.success() {
        return Ok(None);
    }
    serde_json::from_slice(&output.stdout).map(Some).map_err(|_| wrong("answered what is no login"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn login(username: &str, secret: &str) -> Login {
        Login { username: username.to_owned(), secret: secret.to_owned() }
    }

    fn found(variables: &[(&str, &str)], registry: &str) -> Result<RegistryAuth, String> {
        let environment: Environment = variables.iter().copied().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(find(registry, &environment, &Redactor::default()));
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn a_login_of_dockers_is_read() {
        let me = login("me", "pass:word");
        assert_eq!(of_entry(&json!({ "auth": "bWU6cGFzczp3b3Jk" })), Some(login("me", "pass:word")));
        assert_eq!(of_entry(&json!({ "username": "me", "password": "pass:word" })), Some(me));
        for nothing in [json!(null), json!({}), json!({ "auth": "!" }), json!({ "auth": "bWU=" })] {
            assert_eq!(of_entry(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_login_is_told_to_its_registry_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        assert_eq!(found(&[("DOCKER_CONFIG", folder)], "oci.example"), Ok(RegistryAuth::Anonymous), "there is no file");
        let me = json!({ "auth": "bWU6cGFzczp3b3Jk" });
        let config = json!({ "auths": { "oci.example": me, "https://hub.example/v1/": me, "https://other.example": me, "gone.io": {} } });
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let basic = Ok(RegistryAuth::Basic("me".to_owned(), "pass:word".to_owned()));
        for known in ["oci.example", "hub.example", "other.example"] {
            assert_eq!(found(&[("DOCKER_CONFIG", folder)], known), basic, "{known}");
        }
        for unknown in ["oci.example:5000", "gone.io", "evil.example"] {
            assert_eq!(found(&[("DOCKER_CONFIG", folder)], unknown), Ok(RegistryAuth::Anonymous), "{unknown}");
        }
        let other = json!({ "auths": { "evil.example": me } }).to_string();
        let both = [("DOCKER_AUTH_CONFIG", other.as_str()), ("DOCKER_CONFIG", folder)];
        assert_eq!(found(&both, "oci.example"), Ok(RegistryAuth::Anonymous), "the variable is asked alone");
    }

    #[test]
    fn what_cannot_be_read_is_told_without_showing_it() {
        let of = |config: &Value| found(&[("DOCKER_AUTH_CONFIG", &config.to_string())], "oci.example").unwrap_err();
        assert!(of(&json!({ "credsStore": "../x" })).contains("no name of a credential helper"));
        assert!(of(&json!({ "credsStore": "none-such" })).contains("cannot be started"));
        let token = of(&json!({ "auths": { "oci.example": { "auth": STANDARD.encode("<token>:hidden") } } }));
        assert!(token.contains("identity token") && !token.contains("hidden"), "{token}");
        let broken = found(&[("DOCKER_AUTH_CONFIG", "{hidden")], "oci.example").unwrap_err();
        assert!(broken.contains("DOCKER_AUTH_CONFIG") && !broken.contains("hidden"), "{broken}");
    }
}
