//! A server whose runtime state is in a Redis: it goes on without it, comes back with it, and shares it.

use std::{
    fs::{copy, create_dir_all},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{Api, Certificates, Fixture, House, Loss, RedisServer, Stage, Taste, outage};
use serde_json::json;

const APP: &str = "scale-room";

/// How long a command may take in these tests.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long Redis is away: some deadlines.
const AWAY: Duration = Duration::from_secs(5);
/// Longer than anything takes, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn settings(redis: &RedisServer) -> String {
    format!(
        "oracle: {{ tick_ms: 100, audit_share: 0 }}\nstore: {}\nredis: {{ deadline: {}ms }}\n",
        redis.url(),
        DEADLINE.as_millis()
    )
}

fn start(folder: &std::path::Path, redis: &RedisServer) -> Result<(Stage, House)> {
    let stage = Stage::new(folder)?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let house = stage.start_with(&settings(redis), Some(stage.apps()))?;
    Ok((stage, house))
}

#[test]
fn a_redis_that_is_gone_is_a_fast_refusal_and_code_goes_on_answering() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut redis = RedisServer::start(&folder.path().join("redis"))?;
    let (_stage, house) = start(folder.path(), &redis)?;
    ensure!(house.teach(APP, "convert")? == "active", "the code of `convert` is not active");
    ensure!(!house.store().join("runtime.redb").exists(), "the embedded store was made although a Redis was chosen");
    for loss in [Loss::Stopped, Loss::Killed] {
        let report = outage(&house, APP, &mut redis, loss, AWAY)?;
        // Only those that were there first may have waited for the deadline.
        let typical = report.refusal(0.5);
        ensure!(typical < DEADLINE / 4, "{loss:?}: half of the refusals took {typical:?} or longer");
        let model = house.api.call(APP, "weigh", &nexus_tests::input("weigh", 3))?;
        ensure!(model.status == 200 && model.path.as_deref() == Some("model"), "{loss:?}: {}", model.text);
    }
    let house = house.restart()?;
    let status = house.api.optimization(APP, "convert")?;
    ensure!(status["state"] == "active", "what Redis had was there after all: {status}");
    house.stop()
}

#[test]
fn a_redis_that_was_never_there_is_told_at_the_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut redis = RedisServer::start(&folder.path().join("redis"))?;
    redis.kill();
    let told = start(folder.path(), &redis).err().context("a server started without its store")?;
    let told = format!("{told:#}");
    ensure!(told.contains(&redis.url()) && told.contains("start Redis there"), "{told}");
    Ok(())
}

#[test]
fn a_redis_over_tls_is_used_if_its_authority_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::make(&folder.path().join("certificates"))?;
    let redis = RedisServer::start_tls(&folder.path().join("redis"), &certificates, false)?;
    let url = redis.url();
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let start = |settings: &str| stage.start_with(settings, Some(stage.apps()));

    let told = start(&format!("store: {url}\n")).err().context("a certificate of nobody's was taken")?;
    let told = format!("{told:#}");
    ensure!(told.contains("redis.ca") && told.contains(&url), "{told}");
    let ca = format!("redis: {{ ca: {} }}\n", certificates.authority.display());
    let told =
        start(&format!("store: {}\n{ca}", url.replace("rediss:", "redis:"))).err().context("TLS was not asked for")?;
    ensure!(format!("{told:#}").contains("rediss://"), "{told:#}");
    let house = start(&format!("store: {url}\n{ca}"))?;
    house.api.call(APP, "weigh", &nexus_tests::input("weigh", 3))?.success()?;
    ensure!(!redis.cli(&["--scan", "--pattern", "nexus:*"])?.is_empty(), "the state is in this Redis");
    house.stop()
}

#[test]
fn sentinel_is_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let told = stage.start_with("store: redis+sentinel://127.0.0.1:26379/primary\n", Some(stage.apps()));
    let told = format!("{:#}", told.err().context("a Sentinel was taken")?);
    ensure!(told.contains("Sentinel is not supported"), "{told}");
    Ok(())
}

#[test]
fn two_servers_on_one_redis_share_keys_and_their_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = RedisServer::start(&folder.path().join("redis"))?;
    let (_first_stage, first) = start(&folder.path().join("first"), &redis)?;
    // The key that keys are hashed with is one for all replicas.
    let second_store = folder.path().join("second/data/store");
    create_dir_all(&second_store)?;
    for file in ["master-key", "admin-key"] {
        copy(first.store().join(file), second_store.join(file))?;
    }
    let (_second_stage, second) = start(&folder.path().join("second"), &redis)?;
    ensure!(second.api.get("/v1/apps")?.status == 200, "the first server's admin key opens the second");

    let request = json!({ "name": "shared", "scopes": ["apps:*:read"] }).to_string();
    let made = first.api.post("/v1/keys", request.as_bytes())?.success()?;
    let (id, key) = (made["id"].as_str().context("no id")?, made["key"].as_str().context("no key")?);
    let caller = second.api.with_key(Some(key));
    until(&caller, 200)?;
    let revoked = Instant::now();
    let reply = first.api.delete(&format!("/v1/keys/{id}"))?;
    ensure!(reply.status < 300, "HTTP {}: {}", reply.status, reply.text);
    ensure!(first.api.with_key(Some(key)).get("/v1/apps")?.status == 401, "revoked where it was asked for");
    until(&caller, 401)?;
    let seen = revoked.elapsed();
    ensure!(seen < PATIENCE, "{seen:?}");
    first.stop()?;
    second.stop()
}

/// Asks until the answer has this status.
fn until(caller: &Api, status: u16) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let reply = caller.get("/v1/apps")?;
        if reply.status == status {
            return Ok(());
        }
        ensure!(Instant::now() < end, "HTTP {} instead of {status}: {}", reply.status, reply.text);
        sleep(Duration::from_millis(20));
    }
}
