//! Definitions change while the server runs.

use std::{
    fs::{read_to_string, write},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{Checkout, Fixture, House, Stage, Taste, input, programs};

const APP: &str = "scale-room";

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
    let output = std::process::Command::new(programs()?.join("nexus")).arg("check").arg(stage.apps()).output()?;
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
