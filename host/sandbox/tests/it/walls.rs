//! What holds a sandbox in, as the engine says it and as the sandbox sees it.

use std::time::Duration;

use nexus_sandbox::{Exit, Limits};

use crate::support::{Speaker, docker, driver, driver_of, image, owner, spec};

#[tokio::test]
async fn the_engine_holds_a_live_sandbox_within_all_its_walls() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let mut speaker = Speaker::start(&driver, &spec(image(&driver).await, &[])).await;
    speaker.expect("ready").await;
    let see = |what: &str| docker(&["inspect", "--format", &format!("{{{{json {what}}}}}"), speaker.handle.id()]);
    for (what, value) in [
        (".HostConfig.CapDrop", r#"["ALL"]"#),
        (".HostConfig.CapAdd", "null"),
        (".HostConfig.Privileged", "false"),
        (".HostConfig.SecurityOpt", r#"["no-new-privileges:true"]"#),
        (".HostConfig.ReadonlyRootfs", "true"),
        (".Config.User", r#""65534:65534""#),
        (".HostConfig.PidsLimit", "64"),
        (".HostConfig.Memory", "268435456"),
        (".HostConfig.MemorySwap", "268435456"),
        (".HostConfig.NanoCpus", "1000000000"),
        (".HostConfig.NetworkMode", r#""none""#),
        (".HostConfig.IpcMode", r#""none""#),
        (".HostConfig.Binds", "null"),
        (".HostConfig.Tmpfs", "null"),
        (".HostConfig.Devices", "null"),
        (".HostConfig.PidMode", r#""""#),
        (".HostConfig.UsernsMode", r#""""#),
        (".HostConfig.AutoRemove", "true"),
        (".HostConfig.RestartPolicy.Name", r#""no""#),
        (".HostConfig.LogConfig.Type", r#""none""#),
        (".HostConfig.OomScoreAdj", "500"),
        (".Config.OpenStdin", "true"),
        (".Config.StdinOnce", "true"),
        (".Mounts", "[]"),
    ] {
        assert_eq!(see(what), value, "{what}");
    }
    assert!(see(".HostConfig.Ulimits").contains(r#""Name":"nofile""#));
    assert!(see(".Config.Labels").contains(&format!(r#""nexus.lease":"{}""#, owner.lease)));
    // An image by its id, which cannot be moved.
    assert!(see(".Config.Image").starts_with("\"sha256:"));
}

#[tokio::test]
async fn from_inside_there_is_nothing_to_see() {
    let driver = driver().await;
    let mut speaker = Speaker::start(&driver, &spec(image(&driver).await, &["look"])).await;
    let report = speaker.report().await;
    let none = "0000000000000000";
    for line in [
        "Uid: 65534 65534 65534 65534".to_owned(),
        "Gid: 65534 65534 65534 65534".to_owned(),
        format!("CapInh: {none}"),
        format!("CapPrm: {none}"),
        format!("CapEff: {none}"),
        format!("CapBnd: {none}"),
        format!("CapAmb: {none}"),
        "NoNewPrivs: 1".to_owned(),
        "routes 0".to_owned(),
        "devices lo".to_owned(),
        "resolves false".to_owned(),
        "socket false".to_owned(),
        "writable ".to_owned(),
        "hosts false".to_owned(),
        "mknod false".to_owned(),
    ] {
        assert!(report.contains(&line), "{line:?} is not in {report:#?}");
    }
    assert!(report.contains(&"Seccomp: 2".to_owned()), "{report:#?}");
    speaker.expect("ready").await;
    speaker.echo("still here").await;
}

#[tokio::test]
async fn scratch_space_is_all_that_can_be_written() {
    let driver = driver().await;
    let limits = Limits { scratch: Some(1 << 20), ..Limits::default() };
    let spec = nexus_sandbox::SandboxSpec { limits, ..spec(image(&driver).await, &["disk"]) };
    let mut speaker = Speaker::start(&driver, &spec).await;
    speaker.expect("ready").await;
    // A file of its own size does not fit by a few bytes.
    let written = speaker.hear().await.unwrap();
    assert!(["written 0", "written 1048576"].contains(&written.as_str()), "{written}");
    speaker.handle.kill().await;
}

#[tokio::test]
async fn a_neighbour_answers_whatever_a_sandbox_does() {
    let driver = driver().await;
    let image = image(&driver).await;
    let small = Limits { memory: 64 << 20, ..Limits::default() };
    let hostile = |words: &[&str]| nexus_sandbox::SandboxSpec { limits: small.clone(), ..spec(image.clone(), words) };
    let mut neighbour = Speaker::start(&driver, &spec(image.clone(), &[])).await;
    neighbour.expect("ready").await;

    let mut forks = Speaker::start(&driver, &hostile(&["forks"])).await;
    let mut disk = Speaker::start(&driver, &hostile(&["disk"])).await;
    let mut memory = Speaker::start(&driver, &hostile(&["memory"])).await;
    for speaker in [&mut forks, &mut disk, &mut memory] {
        speaker.expect("ready").await;
        neighbour.echo("are you there?").await;
    }
    let children: usize = forks.hear().await.unwrap().strip_prefix("children ").unwrap().parse().unwrap();
    assert!((1..64).contains(&children), "{children}");
    neighbour.echo("after the forks").await;
    disk.expect("written 0").await;
    neighbour.echo("after the disk").await;
    // For want of memory, and by nobody else.
    assert_eq!(memory.handle.wait().await, Exit { code: Some(137) });
    neighbour.echo("after the memory").await;
    for speaker in [forks, disk] {
        speaker.handle.wait_or_kill(Duration::ZERO).await;
    }
}
