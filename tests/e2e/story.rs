//! The main job from end to end: a model answers, Nexus writes code, the code answers, and falls back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nexus_tests::{FIXTURE_INPUTS, Fixture, House, Reply, Stage, Taste, git, input};
use serde_json::{Value, json};

const APP: &str = "scale-room";

/// An input that no split has seen, which code handles, and one on which it abstains.
const UNSEEN: usize = 200;
const ABSTAINED: usize = 207;

fn paths(reply: &Reply) -> (u16, Option<&str>, Option<&str>) {
    (reply.status, reply.path.as_deref(), reply.fallback.as_deref())
}

fn evidence(house: &House, operation: &str, code: u32) -> Result<Value> {
    let file = format!("nexus/jit/{APP}:{operation}/v{code}/evidence.json");
    Ok(serde_json::from_str(&git(&house.store().join("definitions.git"), &["show", &file])?)?)
}

#[test]
fn an_operation_moves_from_model_to_code() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    let fixture = Fixture::new(APP, Taste::Opinion)?;
    stage.add(&fixture)?;
    let house = stage.start(1.0)?;

    let first = house.api.call(APP, "weigh", &input("weigh", 0))?;
    assert_eq!(paths(&first), (200, Some("model"), None));
    assert_eq!(first.json(), json!({ "grams": 0 }));
    assert!(first.execution.is_some());

    assert_eq!(house.teach(APP, "weigh")?, "active");
    let unseen = house.api.call(APP, "weigh", &input("weigh", UNSEEN))?;
    assert_eq!(paths(&unseen), (200, Some("component"), None));
    assert_eq!(unseen.json(), fixture.answer("weigh", &input("weigh", UNSEEN)));
    let abstained = house.api.call(APP, "weigh", &input("weigh", ABSTAINED))?;
    assert_eq!(paths(&abstained), (200, Some("model"), Some("abstain")));
    assert_eq!(abstained.json(), fixture.answer("weigh", &input("weigh", ABSTAINED)));

    code_is_committed(&house)?;
    live_agreement_is_counted(&house)?;
    the_switch_is_visible(&house, &unseen)?;
    house.stop()
}

fn code_is_committed(house: &House) -> Result<()> {
    let repository = house.store().join("definitions.git");
    let listed = git(&repository, &["ls-tree", "-r", "--name-only", &format!("nexus/jit/{APP}")])?;
    for file in ["evidence.json", "source.js", "tests.json"] {
        assert!(listed.contains(&format!("weigh/v1/{file}")), "{listed}");
    }
    let source = git(&repository, &["show", &format!("nexus/jit/{APP}:weigh/v1/source.js")])?;
    assert!(source.contains("const GRAMS"), "the repaired source is the one that is committed: {source}");
    let evidence = evidence(house, "weigh", 1)?;
    let attempts = evidence["attempts"].as_array().map_or(0, Vec::len);
    assert_eq!(attempts, 2, "the first attempt was repaired: {evidence}");
    assert!(evidence["attempts"][0]["refused"].is_object(), "{evidence}");
    assert_eq!(evidence["distinct_inputs"], FIXTURE_INPUTS);
    assert!(evidence["gate"]["n"].as_u64().is_some_and(|n| n >= 20), "{evidence}");
    assert_eq!(evidence["gate"]["handled"], evidence["gate"]["agreed"], "{evidence}");
    git(&repository, &["fsck", "--strict"])?;
    Ok(())
}

fn live_agreement_is_counted(house: &House) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let live = house.api.optimization(APP, "weigh")?["live"].clone();
        if live["agreed"].as_u64().is_some_and(|agreed| agreed > 0) {
            assert_eq!(live["agreed"], live["handled"], "{live}");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no component answer was asked again: {live}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn the_switch_is_visible(house: &House, reply: &Reply) -> Result<()> {
    let id = reply.execution.as_deref().unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = house.api.get(&format!("/v1/executions?app={APP}&path=component&limit=200"))?.success()?;
        let all = found["executions"].as_array().cloned().unwrap_or_default();
        if all.iter().any(|execution| execution["id"] == id) {
            break;
        }
        ensure!(Instant::now() < deadline, "execution {id} is not listed: {found}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let metrics = house.api.get("/metrics")?.text;
    assert!(metrics.contains("component"), "{metrics}");
    Ok(())
}

#[test]
fn code_survives_a_restart_and_goes_in_and_out_by_hand() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let house = stage.start(0.0)?;
    assert_eq!(house.teach(APP, "convert")?, "active");
    let path = |house: &House| -> Result<Option<String>> {
        Ok(house.api.call(APP, "convert", &input("convert", UNSEEN))?.path)
    };

    let house = house.restart()?;
    assert_eq!(path(&house)?.as_deref(), Some("component"), "code is active at once after a restart");
    assert_eq!(house.api.optimization(APP, "convert")?["state"], "active");

    assert_eq!(house.api.optimize(APP, "convert", "demote")?.success()?["state"], "demoted");
    assert_eq!(path(&house)?.as_deref(), Some("model"), "a demotion holds from the moment of its answer");
    assert_eq!(house.api.optimize(APP, "convert", "demote")?.status, 409);
    let house = house.restart()?;
    assert_eq!(path(&house)?.as_deref(), Some("model"), "what somebody took out stays out");
    assert_eq!(house.api.optimize(APP, "convert", "promote")?.success()?["state"], "active");
    assert_eq!(path(&house)?.as_deref(), Some("component"));
    house.stop()
}

#[test]
fn opinion_is_refused_and_the_same_operation_with_a_rule_is_promoted() -> Result<()> {
    for (taste, expected) in [(Taste::Opinion, "refused"), (Taste::Rule, "active")] {
        let folder = tempfile::tempdir()?;
        let stage = Stage::new(folder.path())?;
        stage.add(&Fixture::new(APP, taste)?)?;
        let house = stage.start(0.0)?;
        assert_eq!(house.teach(APP, "taste")?, expected, "{taste:?}");
        let evidence = house.api.optimization(APP, "taste")?["evidence"].clone();
        let refused = evidence["refused"]["detail"].as_str();
        assert_eq!(refused.is_some(), expected == "refused", "{evidence}");
        let reply = house.api.call(APP, "taste", &input("taste", UNSEEN))?;
        let path = if expected == "active" { "component" } else { "model" };
        assert_eq!(paths(&reply), (200, Some(path), None));
        house.stop()?;
    }
    Ok(())
}
