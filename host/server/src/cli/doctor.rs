//! `nexus doctor`.

use nexus_signals::Redactor;
use serde_json::json;

use super::{args::Doctor, failure::Failure, output::Output};
use crate::{
    doctor::{Examination, Finding, Outcome},
    environment::Environment,
    settings::{Override, Sources, duration},
};

pub(super) async fn run(
    doctor: &Doctor,
    output: Output,
    environment: Environment,
    redactor: Redactor,
) -> Result<(), Failure> {
    let patience = duration::parse(&doctor.timeout).map_err(|message| Failure::usage(message, ""))?;
    let examination = Examination { sources: sources(doctor), environment, redactor, live: doctor.live, patience };
    let findings = examination.run().await;
    let failed = findings.iter().any(|finding| finding.outcome == Outcome::Fail);
    if output.json {
        output.value(&json!({ "ok": !failed, "checks": findings }));
    } else {
        show(&findings, output);
    }
    if failed { Err(Failure::Faults) } else { Ok(()) }
}

fn sources(doctor: &Doctor) -> Sources {
    let data_dir = doctor.data_dir.iter().map(|dir| Override::new("--data-dir", "data_dir", dir));
    let set = doctor.set.iter().map(|(path, value)| Override::new(format!("--set {path}"), path, value));
    Sources { file: doctor.config.clone(), flags: data_dir.chain(set).collect() }
}

fn show(findings: &[Finding], output: Output) {
    let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    for Finding { check, outcome, found, mend } in findings {
        let word = word(*outcome, output.colours_of_stdout());
        let mend = mend.as_ref().map(|mend| format!(" -> {mend}")).unwrap_or_default();
        output.line(&format!("{word}  {check:width$}  {}{mend}", found.replace('\n', " ")));
    }
}

fn word(outcome: Outcome, colour: bool) -> String {
    let (word, code) = match outcome {
        Outcome::Ok => ("ok  ", 32),
        Outcome::Warn => ("warn", 33),
        Outcome::Fail => ("fail", 31),
    };
    if colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, word};

    #[test]
    fn there_is_colour_only_where_it_is_wished() {
        assert_eq!(word(Outcome::Fail, false), "fail");
        assert_eq!(word(Outcome::Fail, true), "\u{1b}[31mfail\u{1b}[0m");
    }
}
