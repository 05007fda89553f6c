//! An application with answers by a rule, for tests and benchmarks.
//!
//! Nothing here stands for a language model's work: every recording is marked `written`. The rule:
//! - `weigh` and `convert`: a number with `kg` or `g`, perhaps after `about`, is so many grams; a sack is 25 kg.
//! - `taste`: an opinion, which is one bit of a hash of the text; or, made codable, whether the dish's number is even.

use std::{
    fs::{create_dir_all, read_dir, read_to_string, write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Inputs that are sent before code is written: the `min_inputs` of the fixture.
pub const FIXTURE_INPUTS: usize = 150;

/// Answers that are recorded for each operation; those beyond [`FIXTURE_INPUTS`] are for after the switch.
const RECORDED: usize = 260;

/// Attempts of the coder that are recorded: the first and three repairs.
const ATTEMPTS: usize = 4;

/// What the code of an operation is.
#[derive(Debug, Clone)]
pub struct CoderScript {
    /// The operation.
    pub operation: &'static str,
    /// The source of each attempt in turn; the last is repeated.
    pub attempts: Vec<String>,
}

/// How `taste` is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taste {
    /// By no rule that code could find.
    Opinion,
    /// By a rule.
    Rule,
}

/// An application of fixtures.
#[derive(Debug, Clone)]
pub struct Fixture {
    app: String,
    taste: Taste,
    scripts: Vec<CoderScript>,
}

impl Fixture {
    /// The application under a name of its own.
    pub fn new(app: &str, taste: Taste) -> Result<Self> {
        let (opinion, rule) = (source("taste.opinion")?, source("taste.rule")?);
        let scripts = vec![
            CoderScript { operation: "weigh", attempts: vec![source("weigh.1")?, source("weigh.2")?] },
            CoderScript { operation: "convert", attempts: vec![source("convert.1")?] },
            CoderScript { operation: "taste", attempts: vec![if taste == Taste::Rule { rule } else { opinion }] },
        ];
        Ok(Self { app: app.to_owned(), taste, scripts })
    }

    /// The same, with other code for one operation.
    #[must_use]
    pub fn with_code(mut self, operation: &'static str, attempts: Vec<String>) -> Self {
        self.scripts.retain(|script| script.operation != operation);
        self.scripts.push(CoderScript { operation, attempts });
        self
    }

    /// Writes the application below `apps` and its recordings below `recordings`.
    pub fn write(&self, apps: &Path, recordings: &Path) -> Result<()> {
        copy(
            &fixtures().join("scale-room"),
            &apps.join(&self.app),
            Some(&|text| text.replace("scale-room", &self.app)),
        )?;
        let folder = recordings.join(&self.app);
        create_dir_all(&folder)?;
        for script in &self.scripts {
            write(folder.join(format!("{}.jsonl", script.operation)), joined(&self.answers(script.operation)))?;
            write(folder.join(format!("{}.coder.jsonl", script.operation)), joined(&self.code(script)))?;
        }
        Ok(())
    }

    fn answers(&self, operation: &str) -> Vec<Value> {
        let inputs = (0..RECORDED).map(|number| input(operation, number)).chain(bombs(operation));
        let record = |input| {
            let answer = self.answer(operation, &input);
            json!({
                "model": "small", "key": { "operation": format!("{}/{operation}", self.app), "input": input },
                "answer": answer, "tokens": { "input": 60, "output": 8 }, "latency_ms": 400, "origin": "written",
            })
        };
        inputs.map(record).collect()
    }

    fn code(&self, script: &CoderScript) -> Vec<Value> {
        let record = |attempt: usize| {
            let source = &script.attempts[script.attempts.len().min(attempt) - 1];
            json!({
                "model": "coder",
                "key": { "operation": format!("{}/{}", self.app, script.operation), "attempt": attempt },
                "answer": { "code": source.lines().collect::<Vec<_>>(), "tests": self.own_tests(script.operation) },
                "tokens": { "input": 4000, "output": 600 }, "latency_ms": 900, "origin": "written",
            })
        };
        (1..=ATTEMPTS).map(record).collect()
    }

    /// What the model answers, by the rule.
    pub fn answer(&self, operation: &str, input: &Value) -> Value {
        let text = input["text"].as_str().unwrap_or_default();
        if operation == "taste" {
            let number: u64 = text.trim_start_matches("dish ").parse().unwrap_or(0);
            let bit = if self.taste == Taste::Rule { number } else { hash(text) >> 17 };
            return json!({ "verdict": if bit.is_multiple_of(2) { "yes" } else { "no" } });
        }
        json!({ "grams": grams(text) })
    }

    /// Three tests that hold for right code. The coder's faulty attempts hold them too: the repair set finds them out.
    fn own_tests(&self, operation: &str) -> Value {
        if operation == "taste" {
            let ok = |number: u32| {
                let input = json!({ "text": format!("dish {number}") });
                let verdict = if self.taste == Taste::Rule && number % 2 == 1 { "no" } else { "yes" };
                json!({ "input": input, "expect": { "ok": { "verdict": verdict } } })
            };
            return json!([ok(1002), ok(1004), { "input": { "text": "a cup" }, "expect": { "abstain": true } }]);
        }
        json!([
            { "input": { "text": "3 kg" }, "expect": { "ok": { "grams": 3000 } } },
            { "input": { "text": "about 4 kg" }, "expect": { "ok": { "grams": 4000 } } },
            { "input": { "text": "some" }, "expect": { "abstain": true } },
        ])
    }
}

/// The input with this number. One in eight is such that the fixture's code abstains.
pub fn input(operation: &str, number: usize) -> Value {
    let text = match (operation, number % 8) {
        ("taste", _) => format!("dish {number}"),
        (_, 7) => format!("a sack and {number} g"),
        (_, 6) => format!("about {number} kg"),
        (_, 5) => format!("{number},5 kg"),
        (_, 3 | 4) => format!("{} g", number * 7),
        _ => format!("{number} kg"),
    };
    json!({ "text": text })
}

/// Inputs on which `weigh.bombs.js` loops for ever, fills its memory, recurses for ever, and breaks the output schema.
pub fn bombs(operation: &str) -> Vec<Value> {
    let texts = if operation == "weigh" { vec!["999001 g", "999002 g", "999003 g", "999004 g"] } else { Vec::new() };
    texts.into_iter().map(|text| json!({ "text": text })).collect()
}

/// The source of a fixture's code, by the name of its file.
pub fn source(name: &str) -> Result<String> {
    let path = fixtures().join(format!("coder/{name}.js"));
    read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
}

fn joined(lines: &[Value]) -> String {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    lines.join("\n")
}

fn grams(text: &str) -> u64 {
    if let Some(rest) = text.strip_prefix("a sack and ") {
        return 25_000 + grams(rest);
    }
    let (number, unit) = text.trim_start_matches("about ").split_once(' ').unwrap_or_default();
    let (whole, tenth) = number.split_once(',').unwrap_or((number, "0"));
    let tenths = whole.parse::<u64>().unwrap_or(0) * 10 + tenth.parse::<u64>().unwrap_or(0);
    if unit == "kg" { tenths * 100 } else { tenths / 10 }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Copies a folder.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    copy(from, to, None)
}

/// Copies a folder; of texts, where they are to be changed.
fn copy(from: &Path, to: &Path, change: Option<&dyn Fn(&str) -> String>) -> Result<()> {
    create_dir_all(to)?;
    for entry in read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target, change)?;
        } else if let Some(change) = change {
            write(&target, change(&read_to_string(&path)?))?;
        } else {
            std::fs::copy(&path, &target).with_context(|| format!("{} cannot be copied", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Fixture, Taste, input};

    #[test]
    fn answers_follow_the_rule() {
        let fixture = Fixture::new("scale-room", Taste::Rule).unwrap();
        for (text, grams) in [("12 kg", 12_000), ("35 g", 35), ("5,5 kg", 5_500), ("about 6 kg", 6_000)] {
            assert_eq!(fixture.answer("weigh", &json!({ "text": text })), json!({ "grams": grams }));
        }
        assert_eq!(fixture.answer("weigh", &input("weigh", 7)), json!({ "grams": 25_007 }));
        assert_eq!(fixture.answer("taste", &input("taste", 7)), json!({ "verdict": "no" }));
    }
}
