//! The body of the engine's `POST /containers/create`: what [`create_body`](crate::create_body) makes, and nothing else.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    host_config::{HOST, Network, network},
    json::{Field, are, is_flag, is_text, is_texts, is_true, needed, optional, parse_object, sift},
    refusal::Refusal,
};
use crate::{
    ImageReference,
    docker::{LEASE, OWNER, PLACE},
};

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It runs.
    Sandbox,
    /// It has a volume, gets an archive, and never runs: it can write to its root.
    Holder,
}

/// A body that may be sent on.
#[derive(Debug, PartialEq)]
pub(super) struct Checked {
    pub(super) kind: Kind,
    /// The container in whose network it is to be, which has to be one of Nexus.
    pub(super) joins: Option<String>,
    /// The volume that it gets, which has to be one that Nexus made.
    pub(super) volume: Option<String>,
    /// What was checked, written again.
    pub(super) body: Vec<u8>,
}

/// What an operator allows beyond what is fixed.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    /// Runtimes that may be named.
    pub(super) runtimes: Vec<String>,
    /// The most memory of one container, in bytes.
    pub(super) memory: u64,
}

const TOP: &[Field] = &[
    needed("Image", is_image, "the name of an image"),
    optional("Entrypoint", is_texts, "a list of texts"),
    optional("Cmd", is_texts, "a list of texts"),
    optional("Env", is_texts, "a list of texts"),
    optional("Hostname", |value| *value == "sandbox", "`sandbox`"),
    needed("User", is_user, "a user and a group by their numbers, as `65534:65534`, neither of them 0"),
    needed(
        "Labels",
        are_labels,
        "labels with `nexus.owner` and `nexus.lease`, without others of `nexus.` or of Docker's",
    ),
    needed("Healthcheck", |value| *value == json!({ "Test": ["NONE"] }), "{\"Test\":[\"NONE\"]}"),
    needed("AttachStdin", is_true, "true"),
    needed("AttachStdout", is_true, "true"),
    needed("AttachStderr", is_true, "true"),
    needed("OpenStdin", is_true, "true"),
    needed("StdinOnce", is_true, "true"),
    optional("Tty", super::json::is_false, "false"),
    optional("NetworkDisabled", is_flag, "true or false"),
    needed("HostConfig", Value::is_object, "an object"),
    optional("NetworkingConfig", is_no_endpoint, "without endpoints"),
];

/// Looks at every key of the body.
pub(super) fn check(bytes: &[u8], allowed: &Allowed) -> Result<Checked, Refusal> {
    let mut body = sift(TOP, parse_object(bytes)?, "")?;
    body.remove("NetworkingConfig");
    let host = match body.remove("HostConfig") {
        Some(Value::Object(host)) => sift(HOST, host, "HostConfig.")?,
        _ => Map::new(),
    };
    let sandbox = host.get("ReadonlyRootfs") == Some(&Value::Bool(true));
    let kind = if sandbox { Kind::Sandbox } else { Kind::Holder };
    let (volume, target) = volume(&host);
    consistent(&host, allowed)?;
    if kind == Kind::Holder && !is_holder(&body, &host, target.as_deref()) {
        return Err(Refusal::forbidden(
            "`HostConfig.ReadonlyRootfs` is false, and may be so only for a container that never runs, to give a volume away",
        ));
    }
    let joins = match network(&host) {
        Some(Network::Joins(id)) => Some(id.to_owned()),
        _ => None,
    };
    body.insert("HostConfig".to_owned(), Value::Object(host));
    let body = serde_json::to_vec(&body).map_err(|error| Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        why: format!("the body could not be written: {error}"),
    })?;
    Ok(Checked { kind, joins, volume, body })
}

/// What holds between keys, and what the operator says.
fn consistent(host: &Map<String, Value>, allowed: &Allowed) -> Result<(), Refusal> {
    let number = |name: &str| host.get(name).and_then(Value::as_u64).unwrap_or(0);
    let memory = number("Memory");
    if memory > allowed.memory {
        let most = allowed.memory;
        return Err(Refusal::forbidden(format!("`HostConfig.Memory` is {memory}, and may only be {most} or less")));
    }
    if memory != number("MemorySwap") {
        return Err(Refusal::forbidden(
            "`HostConfig.MemorySwap` has to be what `HostConfig.Memory` is: there is no swap",
        ));
    }
    if super::host_config::scratch_bytes(host) > memory {
        return Err(Refusal::forbidden("`HostConfig.Tmpfs` is memory, and may have no more of it than the container"));
    }
    if let Some(runtime) = host.get("Runtime").and_then(Value::as_str)
        && !allowed.runtimes.iter().any(|known| known == runtime)
    {
        let named = super::refusal::excerpt(runtime);
        return Err(Refusal::forbidden(format!(
            "`HostConfig.Runtime` is `{named}`, which the guard was not told of: start it with `--runtime {named}`"
        )));
    }
    if host.contains_key("ExtraHosts") && network(host) != Some(Network::Nothing) {
        return Err(Refusal::forbidden("`HostConfig.ExtraHosts` is set by the container whose network is joined"));
    }
    Ok(())
}

fn volume(host: &Map<String, Value>) -> (Option<String>, Option<String>) {
    let mount = host.get("Mounts").and_then(|mounts| mounts.get(0));
    let of = |name: &str| mount.and_then(|mount| mount.get(name)).and_then(Value::as_str).map(str::to_owned);
    (of("Source"), of("Target"))
}

fn is_holder(body: &Map<String, Value>, host: &Map<String, Value>, target: Option<&str>) -> bool {
    let never = body.get("Entrypoint").is_some_and(|value| are(value, &["/never"]));
    never
        && target.and_then(|target| target.strip_prefix('/')) == Some(PLACE)
        && network(host) == Some(Network::Nothing)
        && !host.contains_key("Tmpfs")
}

fn is_image(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<ImageReference>().is_ok())
}

fn is_user(value: &Value) -> bool {
    let is_number = |text: &str| {
        let plain = text.bytes().all(|digit| digit.is_ascii_digit()) && !text.starts_with('0');
        plain && text.parse::<u32>().is_ok_and(|number| number > 0)
    };
    value
        .as_str()
        .and_then(|text| text.split_once(':'))
        .is_some_and(|(user, group)| is_number(user) && is_number(group))
}

/// Labels of Docker's own would make it look like a service of Compose to people and programs.
fn are_labels(value: &Value) -> bool {
    let Some(labels) = value.as_object() else { return false };
    let is_set = |name: &str| labels.get(name).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
    let is_own = |name: &str| [OWNER, LEASE].contains(&name);
    let is_free = |name: &str| !name.starts_with("nexus.") && !name.starts_with("com.docker.") && !name.is_empty();
    labels.iter().all(|(name, value)| is_text(value) && (is_own(name) || is_free(name)))
        && is_set(OWNER)
        && is_set(LEASE)
}

fn is_no_endpoint(value: &Value) -> bool {
    let Some(config) = value.as_object() else { return false };
    config.iter().all(|(name, value)| name == "EndpointsConfig" && value.as_object().is_some_and(Map::is_empty))
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
