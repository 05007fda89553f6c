//! Children that are killed.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const PATH: &str = "NEXUS_TEST_CHILD_PATH";
const ACKNOWLEDGED: &str = "acknowledged ";

/// How often a child is killed: `NEXUS_TEST_KILLS`, 10 if it is not set.
pub(crate) fn kills() -> u64 {
    variable("NEXUS_TEST_KILLS").and_then(|kills| kills.parse().ok()).unwrap_or(10)
}

/// In a child: the path that it works on.
pub(crate) fn child_path() -> Option<PathBuf> {
    variable(PATH).map(PathBuf::from)
}

#[expect(clippy::disallowed_methods, reason = "how a test is told what to do")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// In a child: says that something has been acknowledged.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn acknowledge(what: &str) {
    println!("\n{ACKNOWLEDGED}{what}");
}

/// Starts this test program again, to run the ignored test `name` on `path`; kills it (SIGKILL) a moment after its first
/// acknowledgement, a moment that differs from round to round. Returns what it said had been acknowledged.
pub(crate) fn acknowledged_until_killed(name: &str, path: &Path, round: u64) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env(PATH, path);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said = lines.filter_map(|line| line.strip_prefix(ACKNOWLEDGED).map(str::to_owned));
    let mut all: Vec<_> = said.next().into_iter().collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_micros(round * 7_919 % 97_000));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        all.extend(said);
    });
    assert!(!all.is_empty(), "the child ended before it did anything");
    all
}
