//! Agents: many steps against a model (a stand-in that replays a script) that has faults.

use std::{fmt::Write as _, fs, net::TcpListener, path::Path};

use anyhow::{Context, Result, ensure};
use nexus_tests::{House, HouseOptions, programs};
use serde_json::{Value, json};

const APP: &str = "tidy";
const TASK: &str = "Count to thirty, one by one, and say when you are done.";
/// Turns in which the model wants a tool; one more in which it answers.
const TURNS: u64 = 30;

/// What the model says in its turns: it counts, and every tenth time asks a place that never answers. Says what all of it uses.
fn write_script(recordings: &Path) -> Result<(u64, u64)> {
    let folder = recordings.join(APP);
    fs::create_dir_all(&folder)?;
    let (mut lines, mut input, mut output) = (String::new(), 0, 0);
    for turn in 0..=TURNS {
        let tool = match turn {
            TURNS => json!([]),
            _ if turn % 10 == 9 => {
                json!([{ "name": "core_http_request", "arguments": { "url": "http://127.0.0.1:PORT/" } }])
            }
            _ => json!([{ "name": "core_state_increment", "arguments": { "key": "n" } }]),
        };
        let answer = if turn == TURNS { json!({ "done": true }) } else { json!("") };
        let tokens = json!({ "input": 100 + turn, "output": 10 + turn % 3 });
        input += 100 + turn;
        output += 10 + turn % 3;
        let line = json!({
            "model": "small", "key": { "operation": format!("{APP}/count"), "said": TASK, "results": turn },
            "answer": answer, "tool_calls": tool, "tokens": tokens, "latency_ms": 0, "origin": "written",
        });
        let _ = writeln!(lines, "{line}");
    }
    fs::write(folder.join("count.agent.jsonl"), lines)?;
    Ok((input, output))
}

fn write_app(apps: &Path, port: u16, limits: &str) -> Result<()> {
    let app = apps.join(APP);
    fs::create_dir_all(app.join("workflows"))?;
    fs::write(app.join("any.json"), "{}")?;
    fs::write(app.join("done.json"), json!({
        "type": "object", "properties": { "done": { "type": "boolean" } }, "required": ["done"], "additionalProperties": false,
    }).to_string())?;
    let workflow = format!(
        "document: {{ dsl: 1.0.0, namespace: test, name: count, version: 1.0.0 }}\ndo:\n  - work:\n      call: agent\n      with:\n\
         \x20       model: small\n        instructions: You tidy up.\n        input: \"{TASK}\"\n\
         \x20       tools: [core.state.increment, core.http.request]\n        output: done.json\n        limits: {{ steps: 60 }}\n"
    );
    fs::write(app.join("workflows/count.yaml"), workflow)?;
    let yaml = format!(
        "apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {APP} }}\nspec:\n  operations:\n\
         \x20   count: {{ input: any.json, output: any.json, workflow: workflows/count.yaml }}\n\
         \x20 tools: {{ allow: [core.state.increment, core.http.request], http: [\"http://127.0.0.1:{port}\"] }}\n\
         \x20 limits: {{ timeout: 2s{limits} }}\n",
    );
    Ok(fs::write(app.join("app.yaml"), yaml)?)
}

struct Scene {
    house: House,
    tokens: (u64, u64),
    // A place that takes connections and never answers.
    _silent: TcpListener,
}

fn scene(folder: &Path, faults: &'static str, limits: &str) -> Result<Scene> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let port = silent.local_addr()?.port();
    let (apps, recordings, data) = (folder.join("apps"), folder.join("recordings"), folder.join("data"));
    for made in [&apps, &recordings, &data] {
        fs::create_dir_all(made)?;
    }
    let tokens = write_script(&recordings)?;
    let script = recordings.join(APP).join("count.agent.jsonl");
    fs::write(&script, fs::read_to_string(&script)?.replace("PORT", &port.to_string()))?;
    write_app(&apps, port, limits)?;
    let settings = "sandbox: { driver: process }\negress: { private_networks: [\"127.0.0.0/8\"] }\n";
    let options = HouseOptions { faults, ..HouseOptions::new(programs()?, apps, recordings, settings.to_owned()) };
    Ok(Scene { house: House::start(options, &data)?, tokens, _silent: silent })
}

/// What the stand-in has counted.
fn stats(house: &House) -> Result<Value> {
    let told = nexus_tests::Api::new(house.replay.said("listening")?, None).get("/stats")?.success()?;
    Ok(told["stats"].clone())
}

#[test]
fn an_agent_of_thirty_steps_ends_well_whatever_its_model_does_and_costs_what_its_turns_cost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Scene { house, tokens: (input, output), .. } =
        scene(folder.path(), "429=0.05,truncate=0.08,not_json=0.08", "")?;
    let id = house.api.begun(APP, "count", &json!({}))?;
    let ended = house.api.until(&id, "completed")?;
    assert_eq!(ended["output"], json!({ "done": true }));
    let usage = &ended["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(input), &json!(output)), "{usage}");
    let steps = ended["steps"].as_array().context("there are steps")?;
    // What an answer costs that broke off is not known, and so neither is the sum; what the others cost is.
    let turns = steps.iter().filter(|step| step["kind"] == "turn" && step["state"] == "completed");
    let cost: u64 = turns.filter_map(|turn| turn["usage"]["cost_nano_usd"].as_u64()).sum();
    assert_eq!(cost, input * 150 + output * 600, "each turn is paid once");
    let of =
        |kind: &str, state: &str| steps.iter().filter(|step| step["kind"] == kind && step["state"] == state).count();
    assert_eq!(of("turn", "completed"), usize::try_from(TURNS)? + 1);
    // Tools that hang, and arguments that are no JSON, were told to the model.
    ensure!(of("tool", "failed") >= 1, "a place that never answers is a failed tool");
    let faults = stats(&house)?["faults"].clone();
    for fault in ["429", "truncate", "not_json"] {
        ensure!(faults[fault].as_u64().is_some_and(|count| count > 0), "there was no {fault}: {faults}");
    }
    ensure!(of("turn", "failed") >= 2, "turns that failed were asked again");
    house.stop()
}

#[test]
fn a_budget_ends_an_agent_before_the_call_that_would_pass_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Turns use some 110 tokens each; an estimate of one is high.
    let Scene { house, .. } = scene(folder.path(), "", ", tokens_per_execution: 6000")?;
    let id = house.api.begun(APP, "count", &json!({}))?;
    let ended = house.api.until(&id, "failed")?;
    assert_eq!(ended["problem"]["status"], json!(402), "{ended}");
    let detail = ended["problem"]["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("6000 tokens an execution"), "{detail}");
    let steps = ended["steps"].as_array().context("there are steps")?;
    let turns = steps.iter().filter(|step| step["kind"] == "turn" && step["state"] == "completed").count() as u64;
    ensure!(turns > 3 && turns < TURNS, "it went on for {turns} turns");
    assert_eq!(stats(&house)?["requests"], json!(turns), "the model was not asked for the turn that was refused");
    let used =
        ended["usage"]["input_tokens"].as_u64().unwrap_or(0) + ended["usage"]["output_tokens"].as_u64().unwrap_or(0);
    ensure!(used <= 6_000, "{used}");
    house.stop()
}
