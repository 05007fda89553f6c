//! The application whose workflows are killed.

use std::{
    fmt::Write,
    fs::{create_dir_all, write},
    ops::Range,
    path::Path,
};

use anyhow::Result;
use serde_json::{Value, json};

/// The application.
pub(super) const APP: &str = "relay-race";

/// Effects of one execution, whatever its workflow.
pub(super) const STEPS: usize = 10;

/// A workflow: what it does with calls that were interrupted, and whether its steps stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Race {
    /// Ten steps one after another; `retry`: an interrupted call is made again with its key.
    Retry,
    /// The same with `retry-anew`: made again with another key.
    RetryAnew,
    /// The same with `fail`: never made again. The error is caught, and the steps that are left are not done.
    Fail,
    /// Branches with pauses that are long enough to leave the sandbox; `fail` in each.
    Fork,
}

impl Race {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Retry, Self::RetryAnew, Self::Fail, Self::Fork];

    /// The operation's name.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RetryAnew => "retry-anew",
            Self::Fail => "fail",
            Self::Fork => "fork",
        }
    }

    /// Whether a call is never made twice.
    pub(super) fn is_at_most_once(self) -> bool {
        matches!(self, Self::Fail | Self::Fork)
    }

    fn document(self, origin: &str) -> Value {
        let policy = if self.is_at_most_once() { "fail" } else { self.operation() };
        let step = |number: usize| {
            let endpoint = format!("${{ \"{origin}/\\($workflow.input.number)/{number}\" }}");
            let with = json!({ "method": "post", "endpoint": endpoint, "body": { "step": number } });
            json!({ format!("step{number}"): { "call": "http", "metadata": { "interrupted": policy }, "with": with } })
        };
        let steps = |range: Range<usize>| range.map(step).collect::<Vec<_>>();
        // What was interrupted is an answer too.
        let caught = |tried: Vec<Value>| {
            let noted = json!([{ "noted": { "set": { "interrupted": true } } }]);
            json!({ "try": tried, "catch": { "errors": { "with": { "status": 409 } }, "do": noted } })
        };
        let pause = |millis: u64| vec![json!({ "pause": { "wait": { "milliseconds": millis } } })];
        let mut tasks = match self {
            Self::Retry | Self::RetryAnew => steps(0..STEPS),
            Self::Fail => vec![json!({ "all": caught(steps(0..STEPS)) })],
            Self::Fork => {
                let late = caught([pause(900), steps(0..3)].concat());
                let early = caught([steps(3..6), pause(1_500), steps(6..8)].concat());
                let last = caught([pause(450), steps(8..STEPS)].concat());
                let branches = json!([{ "late": late }, { "early": early }, { "last": last }]);
                vec![json!({ "both": { "fork": { "branches": branches } } })]
            }
        };
        let interrupted = "${ [.. | objects | .interrupted? // false] | any }";
        let end = json!({ "number": "${ $workflow.input.number }", "interrupted": interrupted });
        tasks.push(json!({ "end": { "set": end } }));
        let document = json!({ "dsl": "1.0.0", "namespace": APP, "name": self.operation(), "version": "1.0.0" });
        json!({ "document": document, "do": tasks })
    }
}

/// Writes the application, whose steps are effects of the service at `origin`, into a folder of applications.
pub(super) fn write_to(apps: &Path, origin: &str) -> Result<()> {
    let folder = apps.join(APP);
    for name in ["schemas", "workflows"] {
        create_dir_all(folder.join(name))?;
    }
    let mut operations = String::new();
    for race in Race::ALL {
        let name = race.operation();
        writeln!(
            operations,
            "    {name}: {{ input: schemas/any.json, output: schemas/any.json, workflow: workflows/{name}.json }}"
        )?;
        write(folder.join(format!("workflows/{name}.json")), race.document(origin).to_string())?;
    }
    write(folder.join("schemas/any.json"), "{}\n")?;
    let tools = format!("  tools: {{ http: [\"{origin}\"] }}\n");
    let head = format!("apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {APP} }}\nspec:\n  operations:\n");
    Ok(write(folder.join("app.yaml"), head + &operations + &tools)?)
}
