//! Compiled code on disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nexus_model::{ComponentHost, ComponentKind, LoadError};
use nexus_wasm::{CacheCounters, ChildCommand};

use crate::support::{config, guest, host_with, plugin, value};

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_compiled_once() {
    let dir = tempfile::tempdir().unwrap();
    plugin(&host_with(config(dir.path())), &guest("")).await;
    let mut without_compiler = config(dir.path());
    without_compiler.child = ChildCommand { program: "/nonexistent".into(), args: Vec::new() };
    let host = host_with(without_compiler);
    assert_eq!(value(&*plugin(&host, &guest("")).await, "1").await, "1");
    assert_eq!(host.cache_counters(), CacheCounters { hits: 1, forged: 0 });
    // The other engine's code is another entry.
    let error = host.load(ComponentKind::Generated, &guest("")).await.unwrap_err();
    assert!(matches!(error, LoadError::Host(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_builds_share_one_preparation() {
    let dir = tempfile::tempdir().unwrap();
    let started = dir.path().join("started");
    let mut counted = config(&dir.path().join("compiled"));
    let child = counted.child.program.to_str().unwrap().to_owned();
    let (count, log) = (r#"echo x >> "$0"; exec "$1""#.to_owned(), started.to_str().unwrap().to_owned());
    counted.child = ChildCommand { program: "/bin/sh".into(), args: vec!["-c".to_owned(), count, log, child] };
    let host = host_with(counted);
    let sources: Vec<_> = (0..3).map(|n| format!("function run() {{ return {{ ok: {n} }}; }}")).collect();
    let built = futures::future::join_all(sources.iter().map(|source| host.build(source))).await;
    assert!(built.iter().all(Result::is_ok), "{built:?}");
    assert_eq!(fs::read_to_string(started).unwrap().lines().count(), 1 + sources.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_code_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let echo = guest("");
    plugin(&host_with(config(dir.path())), &echo).await;
    let [entry] = <[PathBuf; 1]>::try_from(entries(dir.path())).unwrap();
    let good = fs::read(&entry).unwrap();
    // Code that wasmtime would accept, but that nobody signed for this component.
    plugin(&host_with(config(dir.path())), &guest("unreachable")).await;
    let other = entries(dir.path()).into_iter().find(|path| *path != entry).unwrap();
    let forgeries = [
        fs::read(other).unwrap(),
        [&good[..40], &[0xcc; 64], &good[104..]].concat(),
        good[..good.len() / 2].into(),
        Vec::new(),
    ];
    for forgery in forgeries {
        fs::write(&entry, forgery).unwrap();
        let host = host_with(config(dir.path()));
        assert_eq!(value(&*plugin(&host, &echo).await, "1").await, "1");
        assert_eq!(host.cache_counters(), CacheCounters { hits: 0, forged: 1 });
        assert_eq!(fs::read(&entry).unwrap().len(), good.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = config(dir.path());
    small.cache_bytes = 100 << 10;
    let host = host_with(small);
    for n in 0..8 {
        plugin(&host, &guest(&format!("(local.set $n (i32.const {n}))"))).await;
    }
    let bytes: u64 = entries(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes > 0 && bytes <= 100 << 10, "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_cannot_run_is_the_hosts_fault() {
    let dir = tempfile::tempdir().unwrap();
    for (program, args) in [("/nonexistent", vec![]), ("/bin/cat", vec!["/dev/null".to_owned()])] {
        let mut broken = config(dir.path());
        broken.child = ChildCommand { program: program.into(), args };
        let error = host_with(broken).load(ComponentKind::Plugin, &guest("")).await.unwrap_err();
        assert!(matches!(error, LoadError::Host(_)), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_takes_too_long_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = config(dir.path());
    slow.child = ChildCommand { program: "/bin/sleep".into(), args: vec!["60".into()] };
    slow.plugin_compile.wall = std::time::Duration::from_millis(200);
    let error = host_with(slow).load(ComponentKind::Plugin, &guest("")).await.unwrap_err();
    assert!(matches!(error, LoadError::Compile(_)), "{error:?}");
}

/// Takes some seconds of processor time to compile.
fn large() -> Vec<u8> {
    let step =
        "(i32.store (local.get $n) (i32.mul (i32.load (local.get $n)) (local.tee $n (i32.load (local.get $n)))))\n";
    guest(&step.repeat(100_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_takes_too_much_to_compile_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut little_time = config(dir.path());
    little_time.plugin_compile.cpu = std::time::Duration::from_secs(1);
    let mut little_memory = config(dir.path());
    little_memory.plugin_compile.data_bytes = 48 << 20;
    for (config, reason) in [(little_time, "processor time"), (little_memory, "memory")] {
        let error = host_with(config).load(ComponentKind::Plugin, &large()).await.unwrap_err();
        assert!(matches!(&error, LoadError::Compile(why) if why.contains(reason)), "{reason}: {error:?}");
    }
}
