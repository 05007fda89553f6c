//! What was acknowledged over HTTP is there, however the server ends.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{Api, Fixture, House, Stage, Taste, git};

const APP: &str = "scale-room";
const FILE: &str = "/v1/apps/scale-room/files/docs/notes.md";

/// How often the server is killed: `NEXUS_TEST_KILLS`, 50 if it is not set. `cargo xtask soak kills` sets it.
#[expect(clippy::disallowed_methods, reason = "how a test is told what to do")]
fn kills() -> u64 {
    std::env::var("NEXUS_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(50)
}

fn assert_sound(store: &Path) -> Result<()> {
    let found = git(&store.join("definitions.git"), &["fsck", "--full", "--strict", "--no-dangling"])?;
    ensure!(found.is_empty(), "git fsck: {found}");
    Ok(())
}

/// Writes the file again and again until the server is gone; the revisions that were acknowledged.
fn write_until_it_falls(api: &Api, round: u64, acknowledged: &AtomicU64) -> Vec<String> {
    let mut revisions = Vec::new();
    for number in 0_u64.. {
        let Ok(reply) = api.put(FILE, "*", format!("{round}/{number}\n").as_bytes()) else { break };
        if reply.status != 200 {
            break;
        }
        let Some(revision) = reply.json()["revision"].as_str().map(str::to_owned) else { break };
        revisions.push(revision);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    revisions
}

/// Kills the server a moment after its first acknowledgement, a moment that differs from round to round.
fn round(house: House, number: u64) -> Result<(House, Vec<String>)> {
    let api = house.api.clone();
    let acknowledged = AtomicU64::new(0);
    let (fallen, revisions) = thread::scope(|scope| {
        let writer = scope.spawn(|| write_until_it_falls(&api, number, &acknowledged));
        let deadline = Instant::now() + Duration::from_mins(1);
        while acknowledged.load(Ordering::SeqCst) == 0 && !writer.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(number * 7_919 % 97_000));
        let fallen = house.kill();
        (fallen, writer.join().unwrap_or_default())
    });
    ensure!(!revisions.is_empty(), "the server acknowledged nothing");
    assert_sound(&fallen.store())?;
    Ok((fallen.start()?, revisions))
}

#[test]
fn no_acknowledged_write_is_lost_when_the_server_is_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let mut house = stage.start(0.0)?.restart_without_apps()?;
    add_file(&house)?;
    let mut acknowledged = BTreeSet::new();
    for number in 0..kills() {
        let (next, revisions) = round(house, number)?;
        house = next;
        let served = house.api.get(&format!("/v1/apps/{APP}"))?.success()?;
        ensure!(served["status"] == "active", "after kill {number}: {served}");
        acknowledged.extend(revisions);
    }
    let reachable = git(&house.store().join("definitions.git"), &["rev-list", "--objects", "main"])?;
    let reachable: BTreeSet<_> = reachable.lines().filter_map(|line| line.split(' ').next()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|revision| !reachable.contains(revision.as_str())).collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    ensure!(acknowledged.len() as u64 >= kills(), "{} acknowledged", acknowledged.len());
    house.stop()
}

/// One writer: reads the number in the file, adds one, and writes it back on exactly what it read, until it has done so
/// `times` times.
fn count_up(api: &Api, times: usize, done: &AtomicBool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(10);
    let mut left = times;
    while left > 0 {
        ensure!(Instant::now() < deadline && !done.load(Ordering::SeqCst), "{left} of {times} are left");
        let files = api.get(&format!("/v1/apps/{APP}/files"))?.success()?;
        let revision = files["revision"].as_str().context("a revision")?;
        let number: u64 = files["files"]["docs/notes.md"].as_str().context("the file")?.trim().parse()?;
        let reply = api.put(FILE, &format!("\"{revision}\""), format!("{}\n", number + 1).as_bytes())?;
        match reply.status {
            200 => left -= 1,
            412 => {}
            status => anyhow::bail!("HTTP {status}: {}", reply.text),
        }
    }
    Ok(())
}

#[test]
fn writers_of_one_file_lose_nothing() -> Result<()> {
    const WRITERS: usize = 8;
    const TIMES: usize = 5;
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let house = stage.start(0.0)?;
    add_file(&house)?;
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    count_up(&house.api, TIMES, &failed).inspect_err(|_| failed.store(true, Ordering::SeqCst))
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|_| anyhow::bail!("a writer panicked")))
    })?;
    let files = house.api.get(&format!("/v1/apps/{APP}/files"))?.success()?;
    assert_eq!(files["files"]["docs/notes.md"], format!("{}\n", WRITERS * TIMES), "0 lost");
    house.stop()
}

/// Adds the file that the writers change.
fn add_file(house: &House) -> Result<()> {
    let app = house.api.get(&format!("/v1/apps/{APP}"))?.success()?;
    let condition = format!("\"{}\"", app["newest"].as_str().context("a revision")?);
    let added = house.api.put(FILE, &condition, b"0\n")?;
    ensure!(added.status == 201, "{}", added.text);
    Ok(())
}
