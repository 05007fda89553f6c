//! That every secret which settings and applications name is there. No value is shown.

use nexus_llm::KeyReference;
use nexus_model::{App, EnvValue, McpServerAt, SecretName, SecretOwner, ServerAuth, TriggerOn};
use secrecy::SecretString;

use super::Finding;
use crate::{secrets::AllSecrets, settings::Settings};

const CHECK: &str = "secrets";

/// Where secrets are looked up.
pub(super) struct Known<'a> {
    pub(super) all: &'a AllSecrets,
    /// Whether the secrets of the store are among them.
    pub(super) has_store: bool,
}

impl Known<'_> {
    pub(super) fn resolve(&self, reference: &KeyReference) -> Option<SecretString> {
        self.all.resolve(reference)
    }

    /// What is to be said of a secret that was not found.
    fn missing(&self, named: &str, place: &str, in_store: bool, mend: String) -> Finding {
        if in_store && !self.has_store {
            let found = format!("{named}: {place} may be in the store, which cannot be opened from here");
            return Finding::warn(CHECK, found, "`nexus secret list` asks the running server");
        }
        Finding::fail(CHECK, format!("{named}: there is nothing in {place}"), mend)
    }
}

/// Looks up every secret that is named.
pub(super) fn look(settings: &Settings, apps: &[App], known: &Known<'_>) -> Vec<Finding> {
    let (mut there, mut findings) = (0, Vec::new());
    for (named, reference) in references(settings) {
        if known.resolve(reference).is_some() {
            there += 1;
        } else {
            let in_store = matches!(reference, KeyReference::Secret(_));
            findings.push(known.missing(&named, &reference.to_string(), in_store, mend(reference)));
        }
    }
    for (app, named, secret) in of_apps(settings, apps) {
        let name = secret.replace('_', "-").parse::<SecretName>().ok();
        let owner = SecretOwner::App(app.name.clone());
        if name.as_ref().is_some_and(|name| known.all.find(&owner, name).is_some()) {
            there += 1;
        } else {
            let name = name.map_or(secret, |name| name.to_string());
            let mend =
                format!("`nexus secret set {name} --app {}`, or `secrets.{}` in the settings", app.name, app.name);
            findings.push(known.missing(&named, &format!("the secret `{name}`"), true, mend));
        }
    }
    let plural = if there == 1 { "secret is" } else { "secrets are" };
    findings.insert(0, Finding::ok(CHECK, format!("{there} {plural} named and there")));
    findings
}

/// Every reference in the settings, each with the setting's name.
fn references(settings: &Settings) -> Vec<(String, &KeyReference)> {
    let models =
        settings.models.iter().filter_map(|(alias, model)| Some((format!("models.{alias}.key"), model.key.as_ref()?)));
    let store = settings.redis.password.iter().map(|reference| ("redis.password".to_owned(), reference));
    let remote = settings.definitions.remote.iter().filter_map(|remote| remote.password.as_ref());
    let remote = remote.map(|reference| ("definitions.remote.password".to_owned(), reference));
    let apps = settings.secrets.iter().flat_map(|(app, named)| {
        named.iter().map(move |(name, reference)| (format!("secrets.{app}.{name}"), reference))
    });
    models.chain(store).chain(remote).chain(apps).collect()
}

/// The secrets that applications name and the settings do not place, each with what names it.
fn of_apps<'a>(settings: &Settings, apps: &'a [App]) -> Vec<(&'a App, String, String)> {
    let mut named = Vec::new();
    for app in apps {
        let webhooks = app.triggers.iter().filter_map(|trigger| match &trigger.on {
            TriggerOn::Webhook(webhook) => Some(("a webhook".to_owned(), webhook.secret.clone())),
            _ => None,
        });
        let servers = app.servers.values().flat_map(|server| {
            let what = format!("the MCP server `{}`", server.name);
            of_server(&server.at).into_iter().map(move |secret| (what.clone(), secret.to_string()))
        });
        let placed = |secret: &str| settings.secrets.get(&app.name).is_some_and(|placed| placed.contains_key(secret));
        let missing = webhooks.chain(servers).filter(|(_, secret)| !placed(secret));
        named.extend(missing.map(|(what, secret)| (app, format!("{what} of `{}`", app.name), secret)));
    }
    named
}

fn of_server(at: &McpServerAt) -> Vec<&SecretName> {
    match at {
        McpServerAt::Image(image) => {
            let values = image.env.values();
            values
                .filter_map(|value| match value {
                    EnvValue::Secret { secret } => Some(secret),
                    EnvValue::Text(_) => None,
                })
                .collect()
        }
        McpServerAt::Url {
            auth: Some(ServerAuth::Bearer { secret } | ServerAuth::ClientCredentials { secret, .. }),
            ..
        } => vec![secret],
        McpServerAt::Url { .. } | McpServerAt::Host(_) => Vec::new(),
    }
}

fn mend(reference: &KeyReference) -> String {
    match reference {
        KeyReference::Env(name) => format!("set the variable `{name}` where the server is started"),
        KeyReference::File(path) => format!("write it to `{}`, readable by the server's user", path.display()),
        KeyReference::Secret(name) => format!("`nexus secret set {name}`"),
    }
}
