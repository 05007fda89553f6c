//! A program of ours as a child process.

use std::{
    fs::{File, read_to_string},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The unit of `/proc/<pid>/stat`, which Linux keeps at 100 for programs.
const TICKS_PER_SECOND: u64 = 100;

/// A running program that says on its first line of standard output, as JSON, where it listens.
///
/// It is killed when this is dropped; [`Program::stop`] lets it finish its work first.
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    greeting: Value,
}

impl Program {
    /// Starts a program and waits for its first line. All that it writes goes to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path, patience: Duration) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(file.try_clone()?))
            .spawn()
            .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        let output = child.stdout.take().context("standard output is not there")?;
        let (sender, first) = sync_channel(1);
        std::thread::spawn(move || drain(output, &sender, file));
        let mut program = Self { name: name.to_owned(), child, log: log.to_owned(), greeting: Value::Null };
        program.greeting = match first.recv_timeout(patience) {
            Ok(line) => serde_json::from_str(&line).map_err(|_| program.failed(&format!("said `{}`", line.trim())))?,
            Err(RecvTimeoutError::Timeout) => return Err(program.failed("did not start in time")),
            Err(RecvTimeoutError::Disconnected) => return Err(program.failed("ended at once")),
        };
        Ok(program)
    }

    /// The first line.
    pub fn greeting(&self) -> &Value {
        &self.greeting
    }

    /// A text field of the first line.
    pub fn said(&self, field: &str) -> Result<&str> {
        self.greeting[field]
            .as_str()
            .ok_or_else(|| self.failed(&format!("did not say `{field}` but {}", self.greeting)))
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Bytes of memory that are resident now.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = read_to_string(format!("/proc/{}/status", self.id())).context("the process is gone")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel names no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
        Ok(kibibytes * 1024)
    }

    /// Processor time that it has used so far, its threads together.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = read_to_string(format!("/proc/{}/stat", self.id())).context("the process is gone")?;
        // The name, in parentheses, may hold spaces; what follows it begins with the third field.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<u64, _>>().context("the kernel names no processor time")?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    /// The last lines that it wrote.
    pub fn tail(&self, lines: usize) -> String {
        let text = read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Asks it to end (SIGTERM) and waits; after `patience` it is killed, which is an error.
    pub fn stop(mut self, patience: Duration) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).with_context(|| format!("{} cannot be signalled", self.name))?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!(self.failed(&format!("ended with {status}")));
            }
            sleep(Duration::from_millis(10));
        }
        bail!(self.failed("did not end in time"))
    }

    fn failed(&self, what: &str) -> anyhow::Error {
        anyhow!("{} {what}; the end of its log:\n{}", self.name, self.tail(20))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hands on the first line and writes the rest to the log, until the program closes its output.
fn drain(output: ChildStdout, first: &SyncSender<String>, mut log: File) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    if matches!(output.read_line(&mut line), Ok(count) if count > 0) && first.send(line).is_ok() {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            if log.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    }
}
