//! A child, from outside.

use std::{io, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout, Command},
};

/// A process that evaluates. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts one: `PROGRAM evaluate BYTES`.
    pub(super) fn start(program: &Path, memory: u64) -> io::Result<Self> {
        let mut process = Command::new(program)
            .args(["evaluate", &memory.to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (input, output) = pipes.ok_or_else(|| io::Error::other("it has no pipes"))?;
        Ok(Self { process, input, output: BufReader::new(output) })
    }

    /// The child, if it is there to be asked.
    pub(super) fn living(mut self) -> Option<Self> {
        matches!(self.process.try_wait(), Ok(None)).then_some(self)
    }

    /// Says a line, which ends with a line feed, and hears one of at most `most` bytes.
    pub(super) async fn ask(&mut self, line: &[u8], most: usize) -> io::Result<Vec<u8>> {
        self.input.write_all(line).await?;
        let mut heard = Vec::new();
        loop {
            let there = self.output.fill_buf().await?;
            if there.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let end = there.iter().position(|byte| *byte == b'\n');
            let piece = there.get(..end.unwrap_or(there.len())).unwrap_or_default();
            if heard.len() + piece.len() > most {
                return Err(io::ErrorKind::InvalidData.into());
            }
            heard.extend_from_slice(piece);
            let read = piece.len() + usize::from(end.is_some());
            self.output.consume(read);
            if end.is_some() {
                return Ok(heard);
            }
        }
    }
}
