//! Definitions change while the server runs, and are checked and tested without one.

use std::{
    fs::{read_to_string, write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{Checkout, Fixture, House, Program, Stage, Taste, input, programs};
use serde_json::{Value, json};

const APP: &str = "scale-room";

/// The longest that a program may take until it listens.
const START: Duration = Duration::from_mins(1);

/// The longest that a server may take to see a change.
const SEEN: Duration = Duration::from_secs(10);

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + SEEN;
    while !holds()? {
        ensure!(Instant::now() < deadline, "{what}: not within {SEEN:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn path_of(house: &House) -> Result<Option<String>> {
    let reply = house.api.call(APP, "convert", &input("convert", 200))?;
    reply.success()?;
    Ok(reply.path)
}

#[test]
fn a_changed_prompt_takes_code_out_and_the_old_prompt_brings_it_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let house = stage.start(0.0)?;
    assert_eq!(house.teach(APP, "convert")?, "active");
    assert_eq!(path_of(&house)?.as_deref(), Some("component"));

    let prompt = stage.apps().join(format!("{APP}/prompts/convert.prompt.yml"));
    let old = read_to_string(&prompt)?;
    // Another temperature is another prompt; the replay finds its answers by the messages alone.
    write(&prompt, old.replace("temperature: 0", "temperature: 0.1"))?;
    wait_until("the model answers again", || Ok(path_of(&house)?.as_deref() == Some("model")))?;
    assert_eq!(house.api.optimization(APP, "convert")?["state"], "profiling");

    write(&prompt, old)?;
    wait_until("the code of the old prompt answers", || Ok(path_of(&house)?.as_deref() == Some("component")))?;
    house.stop()
}

#[test]
fn a_pushed_commit_is_picked_up_and_a_faulty_one_leaves_the_old_in_place() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let house = stage.start(0.0)?.restart_without_apps()?;
    let checkout = Checkout::new(&house, &folder.path().join("clone"))?;
    let file = checkout.app(APP).join("app.yaml");
    let old = read_to_string(&file).context("the definitions hold the application")?;
    let push = |text: &str, message: &str| -> Result<()> {
        write(&file, text)?;
        checkout.push(message)
    };
    let shown = || house.api.get(&format!("/v1/apps/{APP}"))?.success();

    push(&old.replace("Reads weights.", "Weighs everything."), "Say more")?;
    wait_until("the new description is served", || Ok(shown()?["description"] == "Weighs everything."))?;

    push(&old.replace("prompt: prompts/weigh", "promt: prompts/weigh"), "Slip")?;
    wait_until("the fault is shown", || Ok(shown()?["faults"].as_array().is_some_and(|faults| !faults.is_empty())))?;
    let reply = house.api.call(APP, "weigh", &input("weigh", 1))?;
    assert_eq!(reply.status, 200, "the version before the fault serves: {}", reply.text);
    assert_eq!(shown()?["description"], "Weighs everything.");
    house.stop()
}

#[test]
fn check_names_five_faults_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let app = stage.apps().join(APP);
    let faulty = read_to_string(app.join("app.yaml"))?
        .replace("prompt: prompts/weigh", "promt: prompts/weigh")
        .replace("schemas/verdict.json", "schemas/verdikt.json")
        .replace("agreement: 0.9,", "agreement: 9,")
        .replace(
            "mode: auto, agreement: 0.95, min_inputs: 150 }\n    taste",
            "mode: autom, min_inputs: 150 }\n    taste",
        )
        .replace("timeout: 30s", "timeout: soon");
    write(app.join("app.yaml"), faulty)?;
    let output = Command::new(programs()?.join("nexus")).arg("check").arg(stage.apps()).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{said}");
    for word in ["promt", "verdikt.json", "autom", "soon", "agreement"] {
        assert!(said.contains(word), "`{word}` is not named:\n{said}");
    }
    for nearest in ["prompt", "verdict.json", "auto"] {
        assert!(said.contains(nearest), "`{nearest}` is not proposed:\n{said}");
    }
    Ok(())
}

/// `nexus prompt` with the fixture's prompts, the replay behind their models.
struct Prompts {
    folder: tempfile::TempDir,
    _replay: Program,
}

impl Prompts {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut replay = Command::new(programs()?.join("nexus-replay"));
        replay.arg("--apps").arg(Self::apps()).args(["--latency", "none"]);
        let replay = Program::start("nexus-replay", &mut replay, &folder.path().join("replay.log"), START)?;
        let url = replay.said("listening")?;
        let model = |name: &str, input: &str, output: &str| {
            let price =
                format!("{{ input_usd_per_million: {input}, output_usd_per_million: {output}, as_of: 2026-06-01 }}");
            format!("  {name}: {{ endpoint: \"{url}/v1\", model: {name}, price: {price} }}\n")
        };
        let settings = format!("models:\n{}{}", model("small", "0.15", "0.60"), model("judge", "3.00", "15.00"));
        write(folder.path().join("nexus.yaml"), settings)?;
        Ok(Self { folder, _replay: replay })
    }

    fn apps() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/prompts"))
    }

    /// The exit code, standard output, and standard error.
    fn said(&self, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
        let mut nexus = Command::new(programs()?.join("nexus"));
        let output = nexus.current_dir(&self.folder).arg("prompt").args(arguments).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    }

    /// The exit code and what is written for scripts about the application.
    fn answered(&self, verb: &str, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
        let mail = Self::apps().join("mail");
        let mail = mail.to_str().context("the path is UTF-8")?;
        let (code, out, error) = self.said(&[&["--json", verb, mail][..], arguments].concat())?;
        let value = serde_json::from_str(&out).with_context(|| format!("no JSON: {out}{error}"))?;
        ensure!(out.trim_end().lines().count() == 1, "more than one object: {out}");
        Ok((code, value))
    }
}

#[test]
fn prompts_are_tested_with_their_own_data_and_judged_by_code_and_by_a_model() -> Result<()> {
    let prompts = Prompts::start()?;
    let (code, report) = prompts.answered("test", &[])?;
    assert_eq!((code, &report["passed"], &report["failed"]), (Some(1), &json!(3), &json!(1)), "{report}");
    let tests = report["tests"].as_array().context("there are tests")?;
    let told: Vec<Value> =
        tests.iter().map(|test| json!([test["operation"], test["case"], test["passes"], test["answer"]])).collect();
    let wanted = json!([
        ["answer", 1, true, { "text": "Good day." }],
        ["handle-shorten", 1, true, "A mail."],
        ["sort", 1, true, { "label": "bill" }],
        ["sort", 2, false, { "label": "bill" }],
    ]);
    assert_eq!(json!(told), wanted);
    let scores = tests[0]["scores"].as_array().context("there are scores")?;
    let told: Vec<Value> =
        scores.iter().map(|score| json!([score["evaluator"], score["score"], score["judge"]])).collect();
    assert_eq!(json!(told), json!([["short", 1.0, null], ["polite", 1.0, "judge"]]));
    assert_eq!(tests[3]["scores"][0]["evaluator"], "expected");
    // Four answers and one judgement, each of 100 tokens in and 10 out.
    assert_eq!((&report["input_tokens"], &report["output_tokens"]), (&json!(500), &json!(50)));
    assert_eq!(report["cost_nano_usd"], json!(4 * (100 * 150 + 10 * 600) + 100 * 3_000 + 10 * 15_000));

    let (code, report) = prompts.answered("test", &["--operation", "answer", "--times", "3"])?;
    assert_eq!((code, &report["passed"], &report["failed"]), (Some(0), &json!(3), &json!(0)), "{report}");
    assert_eq!((&report["tests"][2]["case"], &report["tests"][2]["turn"]), (&json!(1), &json!(3)));

    let apps = Prompts::apps().to_str().context("the path is UTF-8")?;
    let (code, out, error) = prompts.said(&["test", apps, "--prompt", "prompts/sort.prompt.yml"])?;
    assert_eq!(code, Some(1), "{out}{error}");
    ensure!(error.is_empty(), "progress is for terminals: {error}");
    for part in ["mail/prompts/sort.prompt.yml", "{\"label\":\"fault\"}", "1 passed, 1 failed", "USD"] {
        ensure!(out.contains(part), "`{part}` is not in the table:\n{out}");
    }
    Ok(())
}

#[test]
fn a_prompt_is_shown_as_it_would_be_sent_and_wrong_use_asks_nobody() -> Result<()> {
    let prompts = Prompts::start()?;
    let render = ["--prompt", "prompts/sort.prompt.yml", "--input"];
    let (code, shown) = prompts.answered("render", &[&render[..], &[r#"{"text": "Hello {{ 1 }}"}"#][..]].concat())?;
    assert_eq!(code, Some(0), "{shown}");
    let messages =
        json!([{ "role": "system", "content": "You sort mails." }, { "role": "user", "content": "Hello {{ 1 }}" }]);
    assert_eq!((&shown["model"], &shown["messages"]), (&json!("small"), &messages));

    let (code, shown) = prompts.answered("render", &[&render[..], &["{}"][..]].concat())?;
    ensure!(code == Some(2) && shown["error"].to_string().contains("text"), "{shown}");
    for (wrong, told) in [
        (&["--operation", "sorts"][..], "did you mean `sort`"),
        (&["--prompt", "prompts/none.prompt.yml"][..], "no operation asks"),
        (&["--model", "large"][..], "no model `large`"),
    ] {
        let (code, said) = prompts.answered("test", wrong)?;
        ensure!(code == Some(2) && said["error"].to_string().contains(told), "{wrong:?}: {said}");
    }

    // The same application with prompts that say nothing of tests.
    let bare = prompts.folder.path().join("bare");
    std::fs::create_dir_all(bare.join("prompts"))?;
    let app = "apiVersion: nexus/v1\nkind: Application\nmetadata: { name: bare }\nspec:\n  operations:\n    \
               sort: { input: any.json, output: any.json, prompt: prompts/sort.prompt.yml }\n";
    let prompt = "name: Sort\nmodel: small\nmessages: [{ role: user, content: \"{{ input }}\" }]\n";
    for (file, text) in [("app.yaml", app), ("any.json", "{}"), ("prompts/sort.prompt.yml", prompt)] {
        write(bare.join(file), text)?;
    }
    let (code, out, error) = prompts.said(&["test", "bare"])?;
    ensure!(code == Some(0) && out.is_empty() && error.contains("testData:"), "{code:?} {out}{error}");
    Ok(())
}
