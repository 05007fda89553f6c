//! Events while the server is killed: none is lost, and each has its effect once.

use anyhow::Result;
use nexus_tests::{EventSoak, programs};

#[test]
fn ten_thousand_events_survive_five_kills() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let soak = EventSoak { programs: programs()?, events: 10_000, kills: 5, poison: 20 };
    let report = soak.run(&folder.path().join("soak"))?;
    assert_eq!((report.effects, report.dead), (9_980, 20));
    Ok(())
}
