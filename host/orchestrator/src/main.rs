//! `nexus-orchestrator [--parallel NUMBER] [--evaluation-ms NUMBER]`, on standard input and output.
//! `nexus-orchestrator evaluate BYTES` is its child.

use std::{
    error::Error,
    io::{Write, stderr},
    process::ExitCode,
    time::Duration,
};

use nexus_orchestrator::{EvaluationLimits, Evaluators, Settings, evaluate_for_parent, orchestrate};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Err(error) = run(&arguments) else { return ExitCode::SUCCESS };
    // Nobody is told where nobody listens.
    let _ = writeln!(stderr(), "{error}");
    ExitCode::FAILURE
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    if let ["evaluate", memory] = arguments {
        return Ok(evaluate_for_parent(number(memory)?)?);
    }
    let (mut parallel, mut limits) = (64, EvaluationLimits::default());
    let mut rest = arguments;
    while let [flag, value, others @ ..] = rest {
        match *flag {
            "--parallel" => parallel = usize::try_from(number(value)?)?,
            "--evaluation-ms" => limits.longest = Duration::from_millis(number(value)?),
            _ => return Err(usage(flag)),
        }
        rest = others;
    }
    if let [flag] = rest {
        return Err(usage(flag));
    }
    let settings = Settings { parallel, evaluators: Evaluators::of_this_program(limits) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(orchestrate(rmcp::transport::stdio(), settings))?)
}

fn number(text: &str) -> Result<u64, Box<dyn Error>> {
    text.parse().map_err(|_| format!("`{text}` is no number").into())
}

fn usage(flag: &str) -> Box<dyn Error> {
    format!("`{flag}` is no flag with a value: there are `--parallel NUMBER` and `--evaluation-ms NUMBER`").into()
}
