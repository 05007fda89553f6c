//! The part of a container's body that says what of the engine's machine it gets.

use std::net::Ipv4Addr;

use serde_json::{Map, Value};

use super::{
    json::{Field, are, is_false, is_flag, is_text, is_true, needed, optional},
    route::{is_container_id, is_volume},
};
use crate::spec::MAX_PIDS;

const MEBI: u64 = 1 << 20;
/// Nothing that Nexus starts has more.
const MAX_NANO_CPUS: u64 = 256 * 1_000_000_000;
const MAX_SHARED: u64 = 16 * MEBI;
const MAX_OPEN_FILES: u64 = 1 << 20;
const MAX_EXTRA_HOSTS: usize = 64;

pub(super) const HOST: &[Field] = &[
    needed("AutoRemove", is_true, "true"),
    optional("RestartPolicy", is_no_restart, "{\"Name\":\"no\"}"),
    optional("Privileged", is_false, "false"),
    needed("CapDrop", |value| are(value, &["ALL"]), "[\"ALL\"]"),
    needed("SecurityOpt", |value| are(value, &["no-new-privileges:true"]), "[\"no-new-privileges:true\"]"),
    needed("ReadonlyRootfs", is_flag, "true"),
    needed("NetworkMode", is_network, "`none`, or `container:` and the id of a container"),
    optional("Dns", is_no_resolver, "[\"127.0.0.1\"]"),
    optional("ExtraHosts", are_loopback, "names for addresses in 127.0.0.0/8"),
    needed("IpcMode", |value| *value == "none" || *value == "private", "`none` or `private`"),
    optional("ShmSize", |value| is_within(value, 1, MAX_SHARED), "16 MiB or less"),
    needed("CgroupnsMode", |value| *value == "private", "`private`"),
    optional("Mounts", are_mounts, "one volume whose name begins with `nexus-`, with nothing copied into it"),
    optional(
        "Tmpfs",
        |value| scratch(value).is_some(),
        "`/tmp`, with noexec, nosuid, nodev, a size and a number of inodes",
    ),
    needed("Memory", |value| is_within(value, 6 * MEBI, u64::MAX), "6 MiB or more"),
    needed("MemorySwap", Value::is_u64, "what `HostConfig.Memory` is"),
    needed("NanoCpus", |value| is_within(value, 1, MAX_NANO_CPUS), "above 0, up to 256 CPUs"),
    needed("PidsLimit", |value| is_within(value, 1, MAX_PIDS.into()), "1 to 128"),
    needed("Ulimits", are_ulimits, "a bound on nofile, and 0 for core and msgqueue"),
    optional("OomKillDisable", is_false, "false"),
    needed("OomScoreAdj", |value| is_within(value, 0, 1000), "0 to 1000"),
    needed("LogConfig", is_no_log, "{\"Type\":\"none\"}"),
    optional("Runtime", is_text, "a text"),
];

/// The network of a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Network<'a> {
    /// None.
    Nothing,
    /// That of the container with this id.
    Joins(&'a str),
}

/// The network, if it is one that may be.
pub(super) fn network(host: &Map<String, Value>) -> Option<Network<'_>> {
    network_of(host.get("NetworkMode")?)
}

fn network_of(value: &Value) -> Option<Network<'_>> {
    match value.as_str()? {
        "none" => Some(Network::Nothing),
        mode => mode.strip_prefix("container:").filter(|id| is_container_id(id)).map(Network::Joins),
    }
}

fn is_network(value: &Value) -> bool {
    network_of(value).is_some()
}

/// Bytes of the writable `/tmp`.
pub(super) fn scratch_bytes(host: &Map<String, Value>) -> u64 {
    host.get("Tmpfs").and_then(scratch).unwrap_or(0)
}

fn scratch(value: &Value) -> Option<u64> {
    let places = value.as_object()?;
    if places.is_empty() {
        return Some(0);
    }
    let options = places.get("/tmp").filter(|_| places.len() == 1)?.as_str()?;
    let mut options: Vec<&str> = options.split(',').collect();
    let mut take = |is_it: &dyn Fn(&str) -> bool| {
        let place = options.iter().position(|option| is_it(option))?;
        Some(options.remove(place))
    };
    for wanted in ["rw", "noexec", "nosuid", "nodev", "mode=1777"] {
        take(&|option| option == wanted)?;
    }
    let bytes = take(&|option| option.starts_with("size="))?.strip_prefix("size=").and_then(plain_number)?;
    take(&|option| option.starts_with("nr_inodes="))?.strip_prefix("nr_inodes=").and_then(plain_number)?;
    options.is_empty().then_some(bytes)
}

/// A number that is not 0, without a sign or a unit.
fn plain_number(text: &str) -> Option<u64> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?.filter(|number| *number > 0)
}

fn is_within(value: &Value, least: u64, most: u64) -> bool {
    value.as_u64().is_some_and(|number| (least..=most).contains(&number))
}

/// Whether an object has these keys, and no other, but for those that are null.
fn only<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Map<String, Value>> {
    value
        .as_object()
        .filter(|fields| fields.iter().all(|(name, value)| value.is_null() || names.contains(&name.as_str())))
}

fn is_no_restart(value: &Value) -> bool {
    let Some(policy) = only(value, &["Name", "MaximumRetryCount"]) else { return false };
    let never = policy.get("Name").is_none_or(|name| *name == "no" || *name == "");
    never && policy.get("MaximumRetryCount").is_none_or(|count| *count == 0)
}

fn is_no_log(value: &Value) -> bool {
    let Some(log) = only(value, &["Type", "Config"]) else { return false };
    let plain = log.get("Config").is_none_or(|config| config.as_object().is_some_and(Map::is_empty));
    plain && log.get("Type").is_some_and(|kind| *kind == "none")
}

fn is_no_resolver(value: &Value) -> bool {
    are(value, &[]) || are(value, &["127.0.0.1"])
}

fn are_loopback(value: &Value) -> bool {
    let is_loopback = |entry: &str| {
        let Some((name, address)) = entry.split_once(':') else { return false };
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let named = !name.is_empty() && name.len() <= 253 && name.chars().all(plain);
        named && address.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    };
    let entries = value.as_array().filter(|entries| entries.len() <= MAX_EXTRA_HOSTS);
    entries.is_some_and(|entries| entries.iter().all(|entry| entry.as_str().is_some_and(is_loopback)))
}

fn are_mounts(value: &Value) -> bool {
    value.as_array().is_some_and(|mounts| mounts.len() <= 1 && mounts.iter().all(is_mount))
}

fn is_mount(value: &Value) -> bool {
    let Some(mount) = only(value, &["Type", "Source", "Target", "ReadOnly", "VolumeOptions"]) else { return false };
    let text = |name: &str| mount.get(name).and_then(Value::as_str).unwrap_or_default();
    let options = mount.get("VolumeOptions").and_then(|options| only(options, &["NoCopy"]));
    text("Type") == "volume"
        && is_volume(text("Source"))
        && is_target(text("Target"))
        && mount.get("ReadOnly").is_none_or(Value::is_boolean)
        && options.and_then(|options| options.get("NoCopy")) == Some(&Value::Bool(true))
}

/// A place that hides nothing of what holds the container in.
fn is_target(target: &str) -> bool {
    let Some(path) = target.strip_prefix('/') else { return false };
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains([':', ',', '\0']);
    let first = path.split('/').next().unwrap_or_default();
    path.split('/').all(plain) && !["proc", "sys", "dev"].contains(&first)
}

fn are_ulimits(value: &Value) -> bool {
    let Some(limits) = value.as_array().filter(|limits| limits.len() == 3) else { return false };
    let bound = |wanted: &str| {
        let limit = limits.iter().find(|limit| limit.get("Name").is_some_and(|name| *name == wanted))?;
        let limit = only(limit, &["Name", "Soft", "Hard"])?;
        limit.get("Hard")?.as_u64().filter(|hard| limit.get("Soft").and_then(Value::as_u64) == Some(*hard))
    };
    bound("nofile").is_some_and(|files| files <= MAX_OPEN_FILES)
        && bound("core") == Some(0)
        && bound("msgqueue") == Some(0)
}
