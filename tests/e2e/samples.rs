//! The sample application whose operation is opinion, with its own inputs: as it was recorded the gate refuses the code,
//! and the same machinery promotes code for the same inputs once a rule stands behind the answers.

use std::{
    fs::{create_dir_all, write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nexus_tests::{House, HouseOptions, OperationInputs, copy_folder, inputs, programs};
use serde_json::{Value, json};

const APP: &str = "headline-desk";
const OPERATION: &str = "rate-headline";

/// Code for the rule of [`verdict`].
const RULE: &str = "\
function run(input) {
  const words = input.headline.split(' ').length;
  return { ok: { verdict: words < 8 ? 'keep' : words < 11 ? 'rework' : 'drop' } };
}";

/// A rule, in place of an editor's opinion: short headlines are kept.
fn verdict(headline: &str) -> &'static str {
    match headline.split(' ').count() {
        0..8 => "keep",
        8..11 => "rework",
        _ => "drop",
    }
}

#[test]
fn the_opinion_is_refused_and_a_rule_behind_the_same_inputs_is_promoted() -> Result<()> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../apps");
    let asked = headlines(&samples.join("recordings"))?;

    let folder = tempfile::tempdir()?;
    let apps = folder.path().join("apps");
    copy_folder(&samples.join(APP), &apps.join(APP))?;

    let recorded = folder.path().join("recorded");
    copy_folder(&samples.join("recordings").join(APP), &recorded.join(APP))?;
    let (decided, evidence) = decide(folder.path(), "opinion", &apps, recorded, &asked)?;
    assert_eq!(decided, "refused", "{evidence}");
    assert!(evidence["refused"]["reason"].is_string(), "{evidence}");

    let written = folder.path().join("written");
    write_rule(&written, &asked)?;
    let (decided, evidence) = decide(folder.path(), "rule", &apps, written, &asked)?;
    assert_eq!(decided, "active", "{evidence}");
    let gate = &evidence["gate"];
    assert_eq!((&gate["handled"], &gate["agreed"]), (&gate["n"], &gate["n"]), "{evidence}");
    Ok(())
}

fn headlines(recordings: &Path) -> Result<OperationInputs> {
    let all = inputs(recordings)?;
    all.into_iter().find(|one| one.app == APP && one.operation == OPERATION).context("the sample has no inputs")
}

/// Sends all inputs and waits for the oracle; what it decided, and on what evidence.
fn decide(
    folder: &Path,
    name: &str,
    apps: &Path,
    recordings: PathBuf,
    asked: &OperationInputs,
) -> Result<(String, Value)> {
    let data = folder.join(name);
    create_dir_all(&data)?;
    let settings = "oracle: { tick_ms: 100 }\n".to_owned();
    let options = HouseOptions {
        strict_coder: name == "opinion",
        ..HouseOptions::new(programs()?, apps.to_owned(), recordings, settings)
    };
    let house = House::start(options, &data)?;
    for input in &asked.inputs {
        house.api.call(APP, OPERATION, input)?.success()?;
    }
    let decided = house.decision(APP, OPERATION)?;
    let evidence = house.api.optimization(APP, OPERATION)?["evidence"].clone();
    house.stop()?;
    Ok((decided, evidence))
}

/// Recordings in which a rule answers, and a coder that found it.
fn write_rule(recordings: &Path, asked: &OperationInputs) -> Result<()> {
    let folder = recordings.join(APP);
    create_dir_all(&folder)?;
    let operation = format!("{APP}/{OPERATION}");
    let recording = |model: &str, key: Value, answer: Value| {
        json!({
            "model": model, "key": key, "answer": answer, "tokens": { "input": 300, "output": 8 }, "latency_ms": 400,
            "origin": "written",
        })
    };
    let answers = asked.inputs.iter().map(|input| {
        let answer = json!({ "verdict": verdict(input["headline"].as_str().unwrap_or_default()) });
        recording("small", json!({ "operation": operation, "input": input }), answer)
    });
    let test = |headline: &str| json!({ "input": { "headline": headline }, "expect": { "ok": { "verdict": verdict(headline) } } });
    let tests = [test("One"), test("One two three four five six seven eight"), test(&"word ".repeat(12))];
    let code = json!({ "code": RULE.lines().collect::<Vec<_>>(), "tests": tests });
    let coder = recording("coder", json!({ "operation": operation, "attempt": 1 }), code);
    write(folder.join(format!("{OPERATION}.jsonl")), joined(answers))?;
    write(folder.join(format!("{OPERATION}.coder.jsonl")), coder.to_string())?;
    Ok(())
}

fn joined(lines: impl Iterator<Item = Value>) -> String {
    lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n")
}
