//! Events while the server, and its store, are killed: none is lost, and each has its effect once.

use anyhow::Result;
use nexus_tests::{EventSoak, programs};

#[test]
fn ten_thousand_events_survive_five_kills() -> Result<()> {
    survive(None)
}

#[test]
fn ten_thousand_events_survive_five_kills_of_the_server_and_five_of_redis() -> Result<()> {
    survive(Some(5))
}

fn survive(redis_kills: Option<usize>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let soak = EventSoak { programs: programs()?, events: 10_000, kills: 5, poison: 20, redis_kills };
    let report = soak.run(&folder.path().join("soak"), &|_| ())?;
    assert_eq!((report.effects, report.dead), (9_980, 20));
    Ok(())
}
