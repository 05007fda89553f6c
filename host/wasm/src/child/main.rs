//! The child's side.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, nice, setrlimit};

use super::{
    jobs,
    protocol::{FrameError, MAX_FRAME_BYTES, Reply, Request, decode, encode},
};

#[derive(Debug, thiserror::Error)]
enum ChildFailure {
    #[error("the request could not be read")]
    Read(#[source] io::Error),
    #[error("the request or the reply is broken")]
    Frame(#[from] FrameError),
    #[error("a limit could not be set")]
    Limit(#[source] io::Error),
    #[error("the reply could not be written")]
    Write(#[source] io::Error),
}

/// Does one job: reads a request from standard input, limits itself, and writes the reply to standard output.
/// It gives way to whoever serves. The program named by [`ChildCommand`](crate::ChildCommand) calls it first thing,
/// before it starts any thread.
pub fn child_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The parent logs it; with standard error gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{failure}: {:?}", std::error::Error::source(&failure));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), ChildFailure> {
    let mut frame = Vec::new();
    io::stdin().lock().take(MAX_FRAME_BYTES).read_to_end(&mut frame).map_err(ChildFailure::Read)?;
    let (request, blobs) = decode::<Request>(frame)?;
    limit(&request).map_err(ChildFailure::Limit)?;
    let (reply, results): (Reply, Vec<Bytes>) = match jobs::run(request.job, &blobs) {
        Ok(results) => (Ok(()), results),
        Err(refusal) => (Err(refusal), Vec::new()),
    };
    io::stdout().lock().write_all(&encode(&reply, &results)?).map_err(ChildFailure::Write)
}

/// How much the child gives way to others: a quarter of a busy processor is left to it.
const NICENESS: i32 = 5;

fn limit(request: &Request) -> io::Result<()> {
    nice(NICENESS)?;
    let exactly = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::Core, exactly(0))?;
    setrlimit(Resource::Cpu, exactly(request.cpu_seconds))?;
    setrlimit(Resource::Data, exactly(request.data_bytes))?;
    Ok(())
}
