//! Executions while servers and the programs in sandboxes are killed: each ends, and each effect is had as often as it may.

use anyhow::Result;
use nexus_tests::{WalkerDriver, WorkflowReport, WorkflowSoak, programs};

#[test]
fn executions_survive_twenty_kills() -> Result<()> {
    let report = survive(20, false)?;
    assert_eq!((report.servers, report.programs > 0), (14, true));
    Ok(())
}

#[test]
fn executions_survive_eight_kills_of_two_servers_on_one_redis() -> Result<()> {
    let report = survive(8, true)?;
    assert_eq!(report.servers, 6);
    assert_eq!(report.taken_over.len(), 1, "the other server took over");
    Ok(())
}

fn survive(kills: usize, redis: bool) -> Result<WorkflowReport> {
    let folder = tempfile::tempdir()?;
    let soak = WorkflowSoak { programs: programs()?, driver: WalkerDriver::Process, kills, rate: 10, redis, seed: 7 };
    let report = soak.run(&folder.path().join("soak"), &|_| ())?;
    assert!(report.acknowledged >= kills, "{report:?}");
    Ok(report)
}
