use std::net::Ipv4Addr;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, MountType, MountVolumeOptions, RestartPolicyNameEnum,
};
use proptest::{collection, option, prelude::*};

use super::*;
use crate::{
    Limits, Owner, Profile, RelayProfile, SandboxSpec, ServerProfile, VolumeSpec, create_body, docker::holder,
    spec::MAX_PIDS,
};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn allowed() -> Allowed {
    Allowed { runtimes: vec!["runsc".to_owned()], memory: 16 << 30 }
}

fn owner() -> Owner {
    Owner { host: "host-1".into(), lease: "lease-1".into() }
}

fn checked(body: &Value) -> Result<Checked, Refusal> {
    check(body.to_string().as_bytes(), &allowed())
}

fn spec() -> SandboxSpec {
    let limits = Limits { scratch: Some(1 << 20), ..Limits::default() };
    let volume = VolumeSpec { name: "nexus-notes".into(), target: "/data".into(), bytes: 1 << 20 };
    let profile =
        Profile::Server(ServerProfile { name: "notes".into(), volume: Some(volume), ..ServerProfile::default() });
    SandboxSpec { limits, profile, ..SandboxSpec::new("example/tool:1".parse().unwrap()) }
}

fn good() -> Value {
    serde_json::to_value(create_body(&spec(), &owner(), None, None)).unwrap()
}

prop_compose! {
    fn limits()(
        memory in (6_u64 << 20)..=(16 << 30),
        millicpus in 10_u32..=256_000,
        pids in 1_u16..=MAX_PIDS,
        open_files in 16_u32..=(1 << 20),
        scratch in option::of(0_u64..=100),
        uid in 1_u32..,
    ) -> Limits {
        let scratch = scratch.map(|percent| (memory / 100 * percent).max(1));
        Limits { memory, millicpus, pids, open_files, scratch, uid }
    }
}

prop_compose! {
    fn any_spec()(
        limits in limits(),
        command in collection::vec("[^\0]{0,20}", 0..4),
        environment in collection::btree_map("[A-Z_]{1,8}", "[^\0]{0,20}", 0..4),
        labels in collection::btree_map("(nexus\\.)?[a-z.]{1,8}", ".{0,20}", 0..4),
        kind in 0..3_u8,
        hosts in collection::btree_map("[a-z]{1,8}", any::<[u8; 3]>(), 0..4),
        volume in option::of(("nexus-[a-z0-9-]{1,20}", "(/[a-ce-oq-rt-z]{1,6}){1,3}")),
    ) -> SandboxSpec {
        let volume = volume.map(|(name, target)| VolumeSpec { name, target, bytes: 1 << 20 });
        let profile = ServerProfile { name: "x".to_owned(), volume, ..ServerProfile::default() };
        let hosts = hosts.into_iter().map(|(name, [a, b, c])| (name, Ipv4Addr::new(127, a, b, c))).collect();
        let profile = match kind {
            0 => Profile::Orchestrator,
            1 => Profile::Relay(RelayProfile { hosts }),
            _ => Profile::Server(profile),
        };
        SandboxSpec { command, environment, limits, profile, labels, ..spec() }
    }
}

proptest! {
    #[test]
    fn what_nexus_asks_for_is_allowed_and_sent_on_as_it_is(
        spec in any_spec(),
        runtime in option::of(Just("runsc")),
        relay in option::of(Just(ID.to_owned())),
    ) {
        prop_assert!(spec.check().is_ok());
        // A relay joins none.
        let relay = relay.filter(|_| !matches!(spec.profile, Profile::Relay(_)));
        let body = create_body(&spec, &owner(), runtime, relay.as_deref());
        let checked = check(&serde_json::to_vec(&body).unwrap(), &allowed());
        let checked = checked.map_err(|refusal| TestCaseError::fail(refusal.why))?;
        prop_assert_eq!(checked.kind, Kind::Sandbox);
        prop_assert_eq!(checked.joins.as_deref(), relay.as_deref());
        prop_assert_eq!(checked.volume.as_deref(), spec.volume().map(|volume| volume.name.as_str()));
        prop_assert_eq!(serde_json::from_slice::<ContainerCreateBody>(&checked.body).unwrap(), body);
        if let Some(volume) = spec.volume() {
            let checked = check(&serde_json::to_vec(&holder(&spec, volume, &owner())).unwrap(), &allowed());
            prop_assert_eq!(checked.map(|checked| checked.kind), Ok(Kind::Holder));
        }
    }

    #[test]
    fn no_body_makes_it_panic(bytes in collection::vec(any::<u8>(), 0..200), value in any_json()) {
        let _ = check(&bytes, &allowed());
        prop_assert!(checked(&value).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn whatever_is_allowed_is_harmless(runs in any::<bool>(), changes in collection::vec(any_change(), 1..4)) {
        let spec = spec();
        let holder = || serde_json::to_value(holder(&spec, spec.volume().unwrap(), &owner())).unwrap();
        let mut body = if runs { good() } else { holder() };
        for (place, key, value) in changes {
            if let Some(Value::Object(object)) = body.pointer_mut(place) {
                object.insert(key, value);
            }
        }
        if let Ok(checked) = checked(&body) {
            harmless(&checked);
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            collection::hash_map(any_key(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// A place in a body, a key that it may have there or not, and a value that it may have or not.
fn any_change() -> impl Strategy<Value = (&'static str, String, Value)> {
    let places = ["/HostConfig/Mounts/0", "/HostConfig/Mounts/0/VolumeOptions", "/HostConfig/LogConfig"];
    let more = ["/HostConfig/RestartPolicy", "/HostConfig/Tmpfs", "/HostConfig/Ulimits/0", "/Labels", ""];
    let place = prop_oneof![
        2 => Just("/HostConfig"),
        1 => proptest::sample::select([&places[..], &more[..]].concat()),
    ];
    (place, any_key(), any_value())
}

fn any_key() -> impl Strategy<Value = String> {
    // All that the engine knows, from the table of its own library.
    let all = serde_json::to_value(full()).unwrap();
    let of = |place: &str| all.pointer(place).and_then(Value::as_object).unwrap().keys().cloned().collect::<Vec<_>>();
    let known = [of(""), of("/HostConfig"), of("/HostConfig/Mounts/0")].concat();
    let more =
        ["Binds", "Devices", "VolumesFrom", "CapAdd", "PidMode", "UsernsMode", "UTSMode", "PortBindings", "Sysctls"];
    let rest =
        ["DeviceRequests", "CgroupParent", "MaskedPaths", "ReadonlyPaths", "GroupAdd", "Cgroup", "Links", "Init"];
    let keys = [known, [&more[..], &rest[..]].concat().into_iter().map(str::to_owned).collect()].concat();
    prop_oneof![
        8 => proptest::sample::select(keys.clone()),
        1 => proptest::sample::select(keys).prop_map(|key| key.to_lowercase()),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let texts =
        ["none", "host", "private", "", "default", "bind", "volume", "nexus-a", "/", "0:0", "1:1", "runsc", "/data"];
    let values = vec![
        json!(["ALL"]),
        json!([]),
        json!({}),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(64 << 20),
        json!(256 << 20),
        json!({ "/tmp": "rw,noexec,nosuid,nodev,size=1,nr_inodes=1,mode=1777" }),
        json!({ "/tmp": "exec" }),
        json!(["SYS_ADMIN"]),
        json!(["/:/host"]),
        json!(["a:127.0.0.2"]),
        json!(["a:10.0.0.1"]),
        json!(["127.0.0.1"]),
        json!(format!("container:{ID}")),
        json!("container:nexus"),
        json!([{ "Type": "bind", "Source": "/", "Target": "/x" }]),
        json!([{ "Type": "volume", "Source": "nexus-b", "Target": "/x", "VolumeOptions": { "NoCopy": true } }]),
    ];
    prop_oneof![
        2 => proptest::sample::select(texts.map(Value::from).to_vec()),
        3 => proptest::sample::select(values),
        1 => any::<i64>().prop_map(Value::from),
    ]
}

fn full() -> ContainerCreateBody {
    create_body(&spec(), &owner(), Some("runsc"), None)
}

/// What is dangerous is looked for in the engine's own words, not in the tables of the guard.
fn harmless(checked: &Checked) {
    let body: ContainerCreateBody = serde_json::from_slice(&checked.body).unwrap();
    let mut raw: Value = serde_json::from_slice(&checked.body).unwrap();
    // An empty list says nothing; the library leaves it out or not.
    let again = serde_json::to_value(&body).unwrap();
    for place in ["", "/HostConfig"] {
        let known = again.pointer(place).and_then(Value::as_object).unwrap();
        for key in raw.pointer_mut(place).and_then(Value::as_object_mut).unwrap().keys() {
            assert!(known.contains_key(key), "{key} is not what the engine takes it for");
        }
    }
    let host = body.host_config.clone().unwrap();
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(host.security_opt, Some(vec!["no-new-privileges:true".to_owned()]));
    assert_ne!(host.privileged, Some(true));
    assert_eq!(host.readonly_rootfs, Some(checked.kind == Kind::Sandbox));
    assert_eq!(host.auto_remove, Some(true));
    assert!(host.pids_limit.is_some_and(|pids| (1..=128).contains(&pids)));
    assert!(host.memory.is_some_and(|bytes| bytes > 0) && host.memory == host.memory_swap);
    assert!(host.nano_cpus.is_some_and(|cpus| cpus > 0));
    assert_ne!(host.oom_kill_disable, Some(true));
    assert!(host.oom_score_adj.is_some_and(|score| score >= 0));
    assert_eq!(host.log_config.as_ref().unwrap().typ.as_deref(), Some("none"));
    assert!(["none", "private"].contains(&host.ipc_mode.as_deref().unwrap()));
    assert_eq!(host.cgroupns_mode, Some(HostConfigCgroupnsModeEnum::PRIVATE));
    assert!(host.runtime.iter().all(|runtime| runtime == "runsc"));
    let policy = host.restart_policy.as_ref().and_then(|policy| policy.name);
    assert!(matches!(policy, None | Some(RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY)));
    let network = host.network_mode.as_deref().unwrap();
    assert!(network == "none" || network == format!("container:{ID}"), "{network}");
    for entry in host.extra_hosts.iter().flatten() {
        assert!(entry.rsplit(':').next().unwrap().starts_with("127."), "{entry}");
    }
    for server in host.dns.iter().flatten() {
        assert_eq!(server, "127.0.0.1");
    }
    for (place, options) in host.tmpfs.iter().flatten() {
        assert!(place == "/tmp" && options.contains("noexec") && options.contains("size="), "{place} {options}");
    }
    let mounts = host.mounts.iter().flatten();
    for mount in mounts {
        assert_eq!(mount.typ, Some(MountType::VOLUME));
        assert!(mount.source.as_ref().unwrap().starts_with("nexus-"));
        assert_eq!(
            mount.volume_options,
            Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() })
        );
        assert_eq!((&mount.bind_options, &mount.tmpfs_options), (&None, &None));
    }
    // But for what was just looked at, nothing is set.
    let rest = HostConfig {
        auto_remove: None,
        restart_policy: None,
        privileged: None,
        cap_drop: None,
        security_opt: None,
        readonly_rootfs: None,
        network_mode: None,
        dns: None,
        extra_hosts: None,
        ipc_mode: None,
        shm_size: None,
        cgroupns_mode: None,
        mounts: None,
        tmpfs: None,
        memory: None,
        memory_swap: None,
        nano_cpus: None,
        pids_limit: None,
        ulimits: None,
        oom_kill_disable: None,
        oom_score_adj: None,
        log_config: None,
        runtime: None,
        ..host.clone()
    };
    assert_eq!(rest, HostConfig::default());
    let user = body.user.as_deref().unwrap();
    assert!(user.split(':').all(|id| id.parse::<u32>().unwrap() > 0), "{user}");
    assert_eq!((body.open_stdin, body.stdin_once), (Some(true), Some(true)));
    assert_eq!(body.volumes, None);
    assert_eq!(body.networking_config, None);
    let labels = body.labels.unwrap();
    assert!(labels.contains_key("nexus.owner") && labels.contains_key("nexus.lease"));
    assert!(!labels.keys().any(|name| name.starts_with("com.docker.")));
    if checked.kind == Kind::Holder {
        assert_eq!(body.entrypoint, Some(vec!["/never".to_owned()]));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one list")]
fn each_hostile_change_is_refused() {
    let host = |key: &str, value: Value| (format!("/HostConfig/{key}"), value);
    let top = |key: &str, value: Value| (format!("/{key}"), value);
    let bind = json!({ "Type": "bind", "Source": "/", "Target": "/x" });
    let mount = json!({ "Type": "volume", "Source": "nexus-a", "Target": "/x", "VolumeOptions": { "NoCopy": true } });
    let changed = |pointer: &str, value: Value| {
        let mut mounts = json!([mount.clone()]);
        let (place, key) = pointer.rsplit_once('/').unwrap();
        mounts.pointer_mut(place).unwrap()[key] = value;
        host("Mounts", mounts)
    };
    let hostile = [
        host("Privileged", json!(true)),
        host("Privileged", json!("true")),
        host("privileged", json!(true)),
        host("PRIVILEGED", json!(true)),
        host("Binds", json!(["/:/host"])),
        host("Binds", json!(["nexus-a:/x"])),
        host("Mounts", json!([bind])),
        host("Mounts", json!([mount, mount])),
        changed("/0/Source", json!("redis")),
        changed("/0/Source", json!("")),
        changed("/0/Source", json!("nexus-/../a")),
        changed("/0/Target", json!("/")),
        changed("/0/Target", json!("/proc/x")),
        changed("/0/Target", json!("/a/../proc")),
        changed("/0/BindOptions", json!({ "Propagation": "shared" })),
        changed("/0/Consistency", json!("default")),
        changed("/0/VolumeOptions/DriverConfig", json!({ "Options": { "type": "none", "o": "bind", "device": "/" } })),
        changed("/0/VolumeOptions/Subpath", json!("../..")),
        changed("/0/VolumeOptions/NoCopy", json!(false)),
        host("VolumesFrom", json!(["nexus"])),
        host(
            "Devices",
            json!([{ "PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm" }]),
        ),
        host("DeviceRequests", json!([{ "Count": -1 }])),
        host("DeviceCgroupRules", json!(["a *:* rwm"])),
        host("CapAdd", json!(["SYS_ADMIN"])),
        host("CapDrop", json!([])),
        host("CapDrop", json!(null)),
        host("CapDrop", json!(["ALL", "x"])),
        host("SecurityOpt", json!([])),
        host("SecurityOpt", json!(["no-new-privileges:false"])),
        host("SecurityOpt", json!(["no-new-privileges:true", "seccomp=unconfined"])),
        host("SecurityOpt", json!(["no-new-privileges:true", "apparmor=unconfined"])),
        host("MaskedPaths", json!(["/x"])),
        host("ReadonlyPaths", json!(["/x"])),
        host("ReadonlyRootfs", json!(false)),
        host("ReadonlyRootfs", json!(null)),
        host("NetworkMode", json!("host")),
        host("NetworkMode", json!("bridge")),
        host("NetworkMode", json!("default")),
        host("NetworkMode", json!("")),
        host("NetworkMode", json!("container:nexus")),
        host("NetworkMode", json!(format!("container:{}", &ID[..12]))),
        host("NetworkMode", json!(format!("container:{}", ID.to_uppercase()))),
        host("ExtraHosts", json!(["a:host-gateway"])),
        host("ExtraHosts", json!(["a:10.0.0.1"])),
        host("ExtraHosts", json!(["a:127.0.0.1.example"])),
        host("ExtraHosts", json!(["a b:127.0.0.1"])),
        host("Dns", json!(["8.8.8.8"])),
        host("DnsSearch", json!(["example.com"])),
        host("PortBindings", json!({ "80/tcp": [{ "HostPort": "80" }] })),
        host("PublishAllPorts", json!(true)),
        host("Links", json!(["redis"])),
        host("PidMode", json!("host")),
        host("PidMode", json!(format!("container:{ID}"))),
        host("IpcMode", json!("host")),
        host("IpcMode", json!("shareable")),
        host("UTSMode", json!("host")),
        host("UsernsMode", json!("host")),
        host("CgroupnsMode", json!("host")),
        host("CgroupParent", json!("/")),
        host("Cgroup", json!("container:x")),
        host("Sysctls", json!({ "kernel.core_pattern": "|/x" })),
        host("GroupAdd", json!(["0"])),
        host("Memory", json!(0)),
        host("Memory", json!(-1)),
        host("Memory", json!(1_u64 << 40)),
        host("MemorySwap", json!(-1)),
        host("MemoryReservation", json!(1)),
        host("NanoCpus", json!(0)),
        host("NanoCpus", json!(null)),
        host("CpuRealtimeRuntime", json!(1000)),
        host("PidsLimit", json!(0)),
        host("PidsLimit", json!(-1)),
        host("PidsLimit", json!(129)),
        host("Ulimits", json!([])),
        host("Ulimits", json!([{ "Name": "memlock", "Soft": -1, "Hard": -1 }])),
        host("OomKillDisable", json!(true)),
        host("OomScoreAdj", json!(-1000)),
        host("ShmSize", json!(1_u64 << 30)),
        host("Tmpfs", json!({ "/run": "rw,noexec,nosuid,nodev,size=1,nr_inodes=1,mode=1777" })),
        host("Tmpfs", json!({ "/tmp": "" })),
        host("Tmpfs", json!({ "/tmp": "rw,exec,nosuid,nodev,size=1,nr_inodes=1,mode=1777" })),
        host("Tmpfs", json!({ "/tmp": "rw,noexec,nosuid,nodev,size=1,nr_inodes=1,mode=1777,exec" })),
        host("Tmpfs", json!({ "/tmp": "rw,noexec,nosuid,nodev,size=100%,nr_inodes=1,mode=1777" })),
        host("Tmpfs", json!({ "/tmp": "rw,noexec,nosuid,nodev,size=0,nr_inodes=1,mode=1777" })),
        host("Tmpfs", json!({ "/tmp": "rw,noexec,nosuid,nodev,size=17179869184,nr_inodes=1,mode=1777" })),
        host("LogConfig", json!({ "Type": "syslog", "Config": { "syslog-address": "tcp://10.0.0.1" } })),
        host("LogConfig", json!({ "Type": "none", "Config": { "x": "y" } })),
        host("RestartPolicy", json!({ "Name": "always" })),
        host("AutoRemove", json!(false)),
        host("Runtime", json!("other")),
        host("StorageOpt", json!({ "size": "1T" })),
        host("VolumeDriver", json!("x")),
        host("Annotations", json!({ "run.oci.keep_original_groups": "1" })),
        host("ContainerIDFile", json!("/etc/x")),
        host("Init", json!(true)),
        top("User", json!("")),
        top("User", json!("0:0")),
        top("User", json!("1:0")),
        top("User", json!("0:1")),
        top("User", json!("1")),
        top("User", json!("root:root")),
        top("User", json!("00:1")),
        top("User", json!("+1:1")),
        top("User", json!("4294967296:1")),
        top("Image", json!("")),
        top("Image", json!("../x")),
        top("Labels", json!({ "nexus.owner": "a" })),
        top("Labels", json!({ "nexus.owner": "", "nexus.lease": "b" })),
        top("Labels", json!({ "nexus.owner": "a", "nexus.lease": "b", "nexus.other": "c" })),
        top("Labels", json!({ "nexus.owner": "a", "nexus.lease": "b", "com.docker.compose.service": "nexus" })),
        top("OpenStdin", json!(false)),
        top("StdinOnce", json!(false)),
        top("Tty", json!(true)),
        top("Volumes", json!({ "/x": {} })),
        top("ExposedPorts", json!({ "80/tcp": {} })),
        top("Domainname", json!("x")),
        top("MacAddress", json!("02:42:ac:11:00:02")),
        top("Healthcheck", json!({ "Test": ["CMD", "/x"] })),
        top("Hostname", json!("redis")),
        top("Privileged", json!(true)),
        top("Binds", json!(["/:/host"])),
        top("hostConfig", json!({ "Privileged": true })),
        top("HostConfig", json!(null)),
        top("HostConfig", json!([])),
        top("NetworkingConfig", json!({ "EndpointsConfig": { "bridge": {} } })),
        top("NetworkingConfig", json!({ "Other": 1 })),
    ];
    assert!(checked(&good()).is_ok());
    for (pointer, value) in hostile {
        let mut body = good();
        let (place, key) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(place).unwrap()[key] = value.clone();
        assert!(checked(&body).is_err(), "{pointer}: {value}");
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let twice = good().to_string().replacen("\"Privileged\":false", "\"Privileged\":false,\"Privileged\":false", 1);
    let refusal = check(twice.as_bytes(), &allowed()).unwrap_err();
    assert!(refusal.why.contains("`Privileged` is there twice"), "{refusal}");
}

#[test]
fn what_says_nothing_goes_no_further() {
    let mut body = good();
    body["HostConfig"]["MaskedPaths"] = json!([]);
    body["hostconfig"] = json!({});
    body["NetworkingConfig"] = json!({ "EndpointsConfig": {} });
    let sent: Value = serde_json::from_slice(&checked(&body).unwrap().body).unwrap();
    assert_eq!(sent, good());
}

#[test]
fn names_may_be_those_of_loopback_addresses_where_there_is_no_network() {
    let mut body = good();
    body["HostConfig"]["ExtraHosts"] = json!(["db.internal:127.0.0.2", "x:127.255.0.1"]);
    assert!(checked(&body).is_ok());
    body["HostConfig"]["NetworkMode"] = json!(format!("container:{ID}"));
    assert!(checked(&body).is_err());
}

#[test]
fn what_can_write_to_its_root_never_runs() {
    let spec = spec();
    let body = serde_json::to_value(holder(&spec, spec.volume().unwrap(), &owner())).unwrap();
    assert_eq!(checked(&body).unwrap().kind, Kind::Holder);
    for (pointer, value) in [
        ("/Entrypoint", json!(["/program"])),
        ("/Entrypoint", json!(null)),
        ("/HostConfig/Mounts/0/Target", json!("/data")),
        ("/HostConfig/Mounts", json!([])),
        ("/HostConfig/NetworkMode", json!(format!("container:{ID}"))),
        ("/User", json!("0:0")),
    ] {
        let mut body = body.clone();
        *body.pointer_mut(pointer).unwrap() = value.clone();
        assert!(checked(&body).is_err(), "{pointer}: {value}");
    }
}
