//! What the engine is asked to create: all that keeps a sandbox in, in one place.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::{Limits, Owner, Profile, SandboxSpec, VolumeSpec, relay::PROXY};

/// Who owns it.
pub(crate) const OWNER: &str = "nexus.owner";
/// The lease of who owns it.
pub(crate) const LEASE: &str = "nexus.lease";

/// Files and folders that a scratch space may have.
const SCRATCH_INODES: u32 = 16 << 10;
/// Shared memory of an outside server; an orchestrator has none.
const SERVER_SHARED: i64 = 16 << 20;
/// Where names are asked for that an outside server's file of hosts does not have: nowhere.
const NO_NAMES: &str = "127.0.0.1";
/// When memory is short on the whole machine, a sandbox goes before the host does.
const EXPENDABLE: i64 = 500;

/// The body of the engine's `POST /containers/create`. `relay` is the id of a server's relay, whose network namespace, with its name
/// and its file of hosts, the server is in; `runtime` is one that the engine knows, like `runsc`. The specification was checked.
pub fn create_body(
    spec: &SandboxSpec,
    owner: &Owner,
    runtime: Option<&str>,
    relay: Option<&str>,
) -> ContainerCreateBody {
    // A relay, and who is in its namespace, have a network that the engine sets up: loopback.
    let loopback = relay.is_some() || matches!(spec.profile, Profile::Relay(_));
    ContainerCreateBody {
        image: Some(spec.image.as_str().to_owned()),
        // Both at once, so that no default argument of the image is added to a command.
        entrypoint: (!spec.command.is_empty()).then(|| spec.command.clone()),
        cmd: (!spec.command.is_empty()).then(Vec::new),
        env: Some(environment(spec, relay.is_some())),
        hostname: relay.is_none().then(|| "sandbox".to_owned()),
        user: Some(format!("{0}:{0}", spec.uid())),
        labels: Some(labels(&spec.labels, owner)),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        tty: Some(false),
        network_disabled: Some(!loopback),
        host_config: Some(host_config(spec, runtime, relay)),
        ..ContainerCreateBody::default()
    }
}

/// The whole environment. Where there is a proxy, it tells programs so, and nothing else does: some read the one spelling, some
/// the other, and Node.js (from 22.21 on) reads either only if it is told to.
fn environment(spec: &SandboxSpec, proxied: bool) -> Vec<String> {
    let mut environment = spec.environment.clone();
    if proxied {
        let url = format!("http://{PROXY}");
        let mut set = |name: &str, value: &str| environment.insert(name.to_owned(), value.to_owned());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            set(name, &url);
        }
        for name in ["NO_PROXY", "no_proxy"] {
            set(name, "localhost,127.0.0.1");
        }
        set("NODE_USE_ENV_PROXY", "1");
    }
    environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The labels of everything that belongs to `owner`, which nobody else can write.
pub(super) fn labels(own: &BTreeMap<String, String>, owner: &Owner) -> HashMap<String, String> {
    let others = own.iter().filter(|(name, _)| !name.starts_with("nexus."));
    let mut labels: HashMap<_, _> = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.insert(OWNER.to_owned(), owner.host.clone());
    labels.insert(LEASE.to_owned(), owner.lease.clone());
    labels
}

fn host_config(spec: &SandboxSpec, runtime: Option<&str>, relay: Option<&str>) -> HostConfig {
    let limits = &spec.limits;
    let hosts = match &spec.profile {
        Profile::Relay(relay) => Some(&relay.hosts),
        Profile::Orchestrator | Profile::Server(_) => None,
    };
    let shared = matches!(spec.profile, Profile::Server(_));
    HostConfig {
        auto_remove: Some(true),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        // Nothing is said of seccomp and AppArmor: the engine's defaults hold.
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        readonly_rootfs: Some(true),
        network_mode: Some(relay.map_or_else(|| "none".to_owned(), |relay| format!("container:{relay}"))),
        dns: hosts.map(|_| vec![NO_NAMES.to_owned()]),
        extra_hosts: hosts.map(|hosts| hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect()),
        ipc_mode: Some(if shared { "private" } else { "none" }.to_owned()),
        shm_size: shared.then_some(SERVER_SHARED),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        mounts: Some(spec.volume().map(mount).into_iter().collect()),
        tmpfs: limits.scratch.map(scratch),
        memory: Some(signed(limits.memory)),
        memory_swap: Some(signed(limits.memory)),
        nano_cpus: Some(i64::from(limits.millicpus) * 1_000_000),
        pids_limit: Some(i64::from(limits.pids)),
        ulimits: Some(ulimits(limits)),
        oom_kill_disable: Some(false),
        oom_score_adj: Some(EXPENDABLE),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        runtime: runtime.map(str::to_owned),
        ..HostConfig::default()
    }
}

fn ulimits(limits: &Limits) -> Vec<ResourcesUlimits> {
    let bound =
        |name: &str, value: i64| ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) };
    // Every container has a writable `/dev/mqueue`; with this, nothing can be put there.
    vec![bound("nofile", i64::from(limits.open_files)), bound("core", 0), bound("msgqueue", 0)]
}

fn scratch(bytes: u64) -> HashMap<String, String> {
    let options = format!("rw,noexec,nosuid,nodev,size={bytes},nr_inodes={SCRATCH_INODES},mode=1777");
    HashMap::from([("/tmp".to_owned(), options)])
}

fn mount(volume: &VolumeSpec) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.name.clone()),
        target: Some(volume.target.clone()),
        read_only: Some(false),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RelayProfile, ServerProfile};

    fn owner() -> Owner {
        Owner { host: "host-1".into(), lease: "lease-1".into() }
    }

    fn spec() -> SandboxSpec {
        SandboxSpec::new("example/tool:1".parse().unwrap())
    }

    fn server() -> SandboxSpec {
        let volume = VolumeSpec { name: "notes".into(), target: "/data".into(), bytes: 1 << 20 };
        let server = ServerProfile { name: "notes".into(), volume: Some(volume), ..ServerProfile::default() };
        SandboxSpec { profile: Profile::Server(server), ..spec() }
    }

    fn check_walls(body: &ContainerCreateBody) {
        let host = body.host_config.as_ref().unwrap();
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.cap_add, None);
        assert_eq!(host.privileged, Some(false));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges:true".to_owned()]));
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(body.user.as_deref(), Some("65534:65534"));
        assert!(host.pids_limit.is_some_and(|pids| (1..=128).contains(&pids)));
        assert!(host.memory.is_some_and(|bytes| bytes > 0) && host.memory == host.memory_swap);
        assert!(host.nano_cpus.is_some_and(|cpus| cpus > 0));
        assert_eq!(host.binds, None);
        assert_eq!(host.devices, None);
        assert_eq!(host.volumes_from, None);
        assert_eq!(host.pid_mode, None);
        assert_eq!(host.userns_mode, None);
        assert_eq!(host.port_bindings, None);
        assert_eq!(host.log_config.as_ref().unwrap().typ.as_deref(), Some("none"));
        assert_eq!(host.auto_remove, Some(true));
        assert_eq!((body.open_stdin, body.stdin_once, body.tty), (Some(true), Some(true), Some(false)));
        let limits: Vec<_> = host.ulimits.iter().flatten().map(|limit| (limit.name.as_deref(), limit.hard)).collect();
        assert_eq!(limits, [(Some("nofile"), Some(256)), (Some("core"), Some(0)), (Some("msgqueue"), Some(0))]);
        let labels = body.labels.as_ref().unwrap();
        assert_eq!((labels[OWNER].as_str(), labels[LEASE].as_str()), ("host-1", "lease-1"));
    }

    #[test]
    fn an_orchestrator_has_nothing_but_its_streams() {
        let body = create_body(&spec(), &owner(), None, None);
        check_walls(&body);
        let host = body.host_config.unwrap();
        assert_eq!((host.network_mode.as_deref(), body.network_disabled), (Some("none"), Some(true)));
        assert_eq!((host.mounts, host.tmpfs), (Some(Vec::new()), None));
        assert_eq!((host.ipc_mode.as_deref(), host.shm_size), (Some("none"), None));
        assert_eq!((host.runtime, host.dns, host.extra_hosts), (None, None, None));
        assert_eq!(body.hostname.as_deref(), Some("sandbox"));
    }

    #[test]
    fn a_server_has_the_same_walls_and_what_is_its_own() {
        let body = create_body(&server(), &owner(), Some("runsc"), Some("relay-1"));
        check_walls(&body);
        let host = body.host_config.unwrap();
        assert_eq!((host.network_mode.as_deref(), body.network_disabled), (Some("container:relay-1"), Some(false)));
        // The engine takes none of these for who is in another's namespace: they are the relay's.
        assert_eq!((body.hostname, host.dns, host.extra_hosts), (None, None, None));
        let mounts = host.mounts.unwrap();
        assert_eq!(mounts.len(), 1);
        assert_eq!((mounts[0].typ, mounts[0].source.as_deref()), (Some(MountType::VOLUME), Some("notes")));
        assert_eq!(host.runtime.as_deref(), Some("runsc"));
    }

    #[test]
    fn a_server_is_told_of_its_proxy_and_of_no_other() {
        let own = [("HTTP_PROXY", "http://elsewhere"), ("LANG", "C")];
        let environment = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let spec = SandboxSpec { environment, ..server() };
        let env = create_body(&spec, &owner(), None, Some("relay-1")).env.unwrap();
        assert_eq!(
            env,
            [
                "HTTPS_PROXY=http://127.0.0.1:3128",
                "HTTP_PROXY=http://127.0.0.1:3128",
                "LANG=C",
                "NODE_USE_ENV_PROXY=1",
                "NO_PROXY=localhost,127.0.0.1",
                "http_proxy=http://127.0.0.1:3128",
                "https_proxy=http://127.0.0.1:3128",
                "no_proxy=localhost,127.0.0.1",
            ]
        );
        assert_eq!(create_body(&spec, &owner(), None, None).env.unwrap(), ["HTTP_PROXY=http://elsewhere", "LANG=C"]);
    }

    #[test]
    fn a_relay_has_the_same_walls_and_names_for_loopback() {
        let hosts = [("db.internal".to_owned(), [127, 0, 0, 2].into())].into();
        let profile = Profile::Relay(RelayProfile { hosts });
        let body = create_body(&SandboxSpec { profile, ..spec() }, &owner(), None, None);
        check_walls(&body);
        let host = body.host_config.unwrap();
        assert_eq!((host.network_mode.as_deref(), body.network_disabled), (Some("none"), Some(false)));
        assert_eq!(host.extra_hosts, Some(vec!["db.internal:127.0.0.2".to_owned()]));
        assert_eq!(host.dns, Some(vec![NO_NAMES.to_owned()]));
        assert_eq!((host.mounts, host.ipc_mode.as_deref()), (Some(Vec::new()), Some("none")));
    }

    #[test]
    fn a_server_without_grants_has_no_network() {
        let body = create_body(&server(), &owner(), None, None);
        assert_eq!(body.network_disabled, Some(true));
        assert_eq!(body.host_config.unwrap().network_mode.as_deref(), Some("none"));
    }

    #[test]
    fn scratch_is_there_only_where_it_was_asked_for() {
        let limits = Limits { scratch: Some(1 << 20), ..Limits::default() };
        let body = create_body(&SandboxSpec { limits, ..spec() }, &owner(), None, None);
        let tmpfs = body.host_config.unwrap().tmpfs.unwrap();
        assert_eq!(tmpfs.len(), 1);
        assert!(tmpfs["/tmp"].contains("size=1048576") && tmpfs["/tmp"].contains("noexec"));
    }

    #[test]
    fn nobody_claims_to_be_another_owner() {
        let own = [("nexus.owner", "another"), ("nexus.x", "y"), ("team", "blue")];
        let labels = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let body = create_body(&SandboxSpec { labels, ..spec() }, &owner(), None, None);
        let labels = body.labels.unwrap();
        assert_eq!((labels[OWNER].as_str(), labels["team"].as_str(), labels.len()), ("host-1", "blue", 3));
    }

    #[test]
    fn a_command_replaces_all_that_the_image_would_start() {
        let body = create_body(&SandboxSpec { command: vec!["/p".into(), "x".into()], ..spec() }, &owner(), None, None);
        assert_eq!((body.entrypoint, body.cmd), (Some(vec!["/p".into(), "x".into()]), Some(Vec::new())));
        let body = create_body(&spec(), &owner(), None, None);
        assert_eq!((body.entrypoint, body.cmd), (None, None));
    }
}
