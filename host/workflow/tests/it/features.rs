//! The conformance features of the specification: every scenario, step by step.

use std::{fs, path::Path};

use nexus_workflow::{Finished, Grants, ProgressPhase, Workflow};
use serde_json::Value;

use crate::support::{World, run_in, yaml};

/// One line of a scenario, with the text that belongs to it.
struct Step {
    line: String,
    text: Option<String>,
}

struct Scenario {
    name: String,
    steps: Vec<Step>,
}

#[test]
fn every_scenario_of_the_specification_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec/features");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut faults = Vec::new();
    let mut scenarios = 0;
    for file in files {
        let feature = fs::read_to_string(&file).unwrap();
        for scenario in scenarios_of(&feature) {
            scenarios += 1;
            let result = hold(&scenario);
            let name = format!("{} / {}", file.file_name().unwrap().display(), scenario.name);
            println!("{:5} {name}", if result.is_ok() { "ok" } else { "FAILS" });
            faults.extend(result.err().map(|why| format!("{name}: {why}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(scenarios, 21);
}

/// Reads as much of Gherkin as these files have.
fn scenarios_of(feature: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut quoted: Option<(usize, Vec<&str>)> = None;
    for line in feature.lines() {
        let bare = line.trim();
        if let Some((indent, mut lines)) = quoted.take() {
            if bare == "\"\"\"" {
                let least = lines.iter().filter(|l| !l.trim().is_empty()).map(|l| l.len() - l.trim_start().len()).min();
                let least = least.unwrap_or(indent);
                let text: Vec<&str> = lines.iter().map(|line| line.get(least..).unwrap_or_default()).collect();
                scenarios.last_mut().unwrap().steps.last_mut().unwrap().text = Some(text.join("\n"));
            } else {
                lines.push(line);
                quoted = Some((indent, lines));
            }
        } else if bare.starts_with("\"\"\"") {
            quoted = Some((line.len() - line.trim_start().len(), Vec::new()));
        } else if let Some(name) = bare.strip_prefix("Scenario:") {
            scenarios.push(Scenario { name: name.trim().to_owned(), steps: Vec::new() });
        } else if !bare.is_empty()
            && !bare.starts_with('#')
            && let Some(scenario) = scenarios.last_mut()
        {
            scenario.steps.push(Step { line: bare.to_owned(), text: None });
        }
    }
    scenarios
}

fn hold(scenario: &Scenario) -> Result<(), String> {
    let world = World::new();
    let mut definition = Value::Null;
    let mut input = Value::Null;
    let mut finished: Option<Finished> = None;
    for step in &scenario.steps {
        let words = step.line.split_once(' ').map_or("", |(_, rest)| rest).trim_end_matches(':');
        let value = || yaml(step.text.as_deref().expect("the step has a text"));
        match words.strip_prefix("given ").unwrap_or(words) {
            "a workflow with definition" => definition = value(),
            "the workflow input is" => input = value(),
            "the workflow is executed" => {
                let workflow =
                    Workflow::read(&definition, Grants::default()).map_err(|faults| format!("{faults:?}"))?;
                finished = run_in(&world, &workflow, input.clone());
            }
            claim => {
                let finished = finished.as_ref().ok_or("it did not end")?;
                judge(claim, step.text.as_deref(), finished, &world)?;
            }
        }
    }
    finished.map(|_| ()).ok_or_else(|| "it was not run".to_owned())
}

fn judge(claim: &str, text: Option<&str>, finished: &Finished, world: &World) -> Result<(), String> {
    let wanted = text.map(yaml);
    let output = || finished.result.as_ref().map_err(ToString::to_string);
    let check = |holds: bool, found: &dyn std::fmt::Debug| {
        if holds { Ok(()) } else { Err(format!("{claim}: wanted {wanted:?}, found {found:?}")) }
    };
    let quoted: Vec<&str> = claim.split('\'').skip(1).step_by(2).collect();
    let ran = world.tasks(ProgressPhase::Started);
    if claim == "the workflow should complete" {
        return output().map(|_| ());
    }
    if claim == "the workflow should complete with output" {
        return check(Some(output()?) == wanted.as_ref(), output()?);
    }
    if claim == "the workflow should fault" {
        return check(finished.result.is_err(), &finished.result);
    }
    if claim == "the workflow should fault with error" {
        let error = finished.result.as_ref().err().map(|error| serde_json::to_value(error).unwrap());
        return check(error == wanted, &error);
    }
    if claim.starts_with("the workflow output should have properties") {
        return quoted.iter().try_for_each(|path| check(find(output()?, path).is_some(), path));
    }
    if claim.starts_with("the workflow output should have a ") {
        let found = find(output()?, quoted[0]);
        return match claim.split_once(" containing ") {
            Some((_, count)) => {
                let count: usize = count.split(' ').next().unwrap().parse().unwrap();
                check(found.and_then(Value::as_array).is_some_and(|items| items.len() == count), &found)
            }
            None => check(found == wanted.as_ref(), &found),
        };
    }
    let (task, order) = claim.split_once(" should run ").ok_or_else(|| format!("`{claim}` is not understood"))?;
    let place = |name: &str| ran.iter().position(|ran| ran == name);
    let holds = match order.split_once(' ') {
        None if order == "first" => place(task) == Some(0),
        None => order == "last" && ran.last().is_some_and(|last| last == task),
        Some(("after", other)) => place(task) > place(other) && place(other).is_some(),
        Some((_, other)) => place(task) < place(other) && place(task).is_some(),
    };
    check(holds, &ran)
}

fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}
