//! `nexus prompt`.

use std::{collections::BTreeMap, path::Path};

use nexus_model::{AppName, FileTree, Role};
use nexus_signals::Redactor;
use nexus_state::folder::read_apps;
use serde_json::{Value, json};

use super::{
    args::{Prompt, PromptRender, PromptTest},
    call,
    failure::Failure,
    model::{load, models},
    output::Output,
};
use crate::{
    asking::Task,
    environment::Environment,
    prompts::{Found, Outcome, Report, Trial, Wanted, find, judges, rounded},
    secrets::AllSecrets,
    settings::Settings,
};

/// The most questions of one run.
const MAX_QUESTIONS: usize = 10_000;

const HOW: &str = "\
no prompt here has test data. It stands in the prompt's file:

  testData:
    - input: { text: I was charged twice. }
      expected: { category: billing, urgent: true }
  evaluators:             # without any, the answer has to equal `expected`
    - { name: category, json: { at: /category, equals: \"{{ expected.category }}\" } }";

pub(super) async fn run(
    command: &Prompt,
    output: Output,
    environment: &Environment,
    redactor: &Redactor,
) -> Result<(), Failure> {
    match command {
        Prompt::Test(test) => self::test(test, output, environment, redactor).await,
        Prompt::Render(render) => self::render(render, output),
    }
}

async fn test(
    test: &PromptTest,
    output: Output,
    environment: &Environment,
    redactor: &Redactor,
) -> Result<(), Failure> {
    let apps = apps(&test.dir)?;
    let wanted =
        Wanted { operation: test.operation.as_deref(), prompt: test.prompt.as_deref(), model: test.model.as_deref() };
    let Found { tasks, left_out } = find(&apps, wanted)?;
    for prompt in &left_out {
        output.note(&format!("left out: `{prompt}` is an agent's, which has no answer without its tools"));
    }
    let mut report = Report { outcomes: Vec::new(), left_out };
    if tasks.iter().all(|task| task.prompt.tests.cases.is_empty()) {
        output.note(HOW);
    } else {
        let settings = load(test.config.as_ref(), environment)?;
        report.outcomes = outcomes(test, &tasks, &settings, output, environment, redactor).await?;
    }
    if output.json {
        output.value(&report.value());
    } else if !report.outcomes.is_empty() {
        show(&report, output);
    }
    if report.failed() == 0 { Ok(()) } else { Err(Failure::Faults) }
}

async fn outcomes(
    test: &PromptTest,
    tasks: &[Task],
    settings: &Settings,
    output: Output,
    environment: &Environment,
    redactor: &Redactor,
) -> Result<Vec<Outcome>, Failure> {
    must_know(settings, tasks)?;
    let models = models(settings, AllSecrets::of_operator(&settings.secrets_dir, environment, redactor))?;
    let trial = Trial { tasks, models: &models, times: usize::from(test.times), parallel: test.parallel };
    let all = trial.questions();
    if all > MAX_QUESTIONS {
        let message = format!("that would be {all} questions, more than {MAX_QUESTIONS}");
        return Err(Failure::usage(message, "choose some with --operation or --prompt, or fewer with --times"));
    }
    let mut done = 0;
    let told = |outcome: &Outcome| {
        done += 1;
        let passes = if outcome.passes() { "passes" } else { "fails" };
        output
            .progress(&format!("{done} of {all}: {}/{}, case {} {passes}", outcome.app, outcome.prompt, outcome.case));
    };
    trial.run(told).await.map_err(Failure::Untested)
}

/// The applications of a folder, of which there is one at least.
fn apps(dir: &Path) -> Result<BTreeMap<AppName, FileTree>, Failure> {
    let apps = read_apps(dir)?;
    if apps.is_empty() {
        let message = format!("`{}` holds no application", dir.display());
        return Err(Failure::usage(message, "an application is a folder with an `app.yaml`"));
    }
    Ok(apps)
}

/// All models that are asked have to be in the settings, before any is.
fn must_know(settings: &Settings, tasks: &[Task]) -> Result<(), Failure> {
    let tested = tasks.iter().filter(|task| !task.prompt.tests.cases.is_empty()).map(Task::alias);
    match tested.chain(judges(tasks)).find(|alias| !settings.models.contains_key(*alias)) {
        None => Ok(()),
        Some(alias) => {
            let help = "add it to the settings, name them with --config, or name another model with --model";
            Err(Failure::usage(format!("there is no model `{alias}` in the settings"), help))
        }
    }
}

fn show(report: &Report, output: Output) {
    output.table(&Report::HEADINGS, &report.rows());
    let usage = report.usage();
    let mean = report.mean().map_or_else(|| "-".to_owned(), rounded);
    output.line(&format!("\n{} passed, {} failed; mean score {mean}", report.passed(), report.failed()));
    let cost = usage.cost.map_or_else(|| "cost not known".to_owned(), |cost| cost.to_string());
    output.line(&format!("{} tokens in and {} out; {cost}", usage.input_tokens, usage.output_tokens));
}

fn render(render: &PromptRender, output: Output) -> Result<(), Failure> {
    let apps = apps(&render.dir)?;
    let input = call::input(&render.input)?;
    let input: Value = serde_json::from_slice(&input)
        .map_err(|error| Failure::usage(format!("the input is no JSON: {error}"), "as in '{\"text\": \"fine\"}'"))?;
    let Found { tasks, .. } = find(&apps, Wanted { prompt: Some(&render.prompt), ..Wanted::default() })?;
    let [first, others @ ..] = tasks.as_slice() else {
        let message = format!("`{}` is an agent's prompt, which says more than its messages", render.prompt);
        return Err(Failure::usage(message, "name a prompt that an operation asks"));
    };
    if others.iter().any(|other| other.reference.app != first.reference.app) {
        let message = format!("`{}` is in more than one application", render.prompt);
        return Err(Failure::usage(message, "name the folder of one"));
    }
    // Operations that share a prompt may take different inputs; what is said does not depend on that.
    let task = tasks.iter().find(|task| task.fault(&input).is_none());
    let Some(task) = task else {
        let fault = first.fault(&input).unwrap_or_default();
        return Err(Failure::usage(format!("the input fails the schema of `{}` {fault}", first.reference), ""));
    };
    let messages = task.messages(&input).map_err(|message| Failure::usage(message, ""))?;
    if output.json {
        output.value(&json!({
            "app": task.reference.app,
            "prompt": task.prompt.path,
            "model": task.alias(),
            "parameters": task.prompt.parameters,
            "messages": messages,
        }));
        return Ok(());
    }
    for message in &messages {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        output.line(&format!("{role}:\n{}\n", message.content));
    }
    Ok(())
}
