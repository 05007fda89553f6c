//! The stand-in for providers is asked with the providers' own Python clients, as pip brings them. What they understand is
//! the real wire format, and not only what Nexus takes for it.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{Fixture, Program, Stage, Taste, input, programs, python};
use serde_json::{Value, json};

const APP: &str = "scale-room";
const KEY: &str = "sk-interop";
const CLIENTS: [&str; 3] = ["openai", "anthropic", "ollama"];
/// What the fixture's prompt says.
const WEIGH: &str = "Give the weight in grams. A sack weighs 25 kg. Answer with {\"grams\": number}.";
/// The longest that the stand-in may take until it listens.
const START: Duration = Duration::from_mins(1);

/// A folder with recordings, and the clients.
struct Room {
    _folder: tempfile::TempDir,
    stage: Stage,
    path: PathBuf,
    python: PathBuf,
}

impl Room {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        let stage = Stage::new(&path)?;
        stage.add(&Fixture::new(APP, Taste::Rule)?)?;
        Ok(Self { _folder: folder, stage, path, python: python()? })
    }

    fn replay(&self, more: &[&str]) -> Result<Program> {
        let program = programs()?.join("nexus-replay");
        ensure!(program.exists(), "{} is not there; build it with `cargo xtask build`", program.display());
        let mut command = Command::new(program);
        command.arg("--apps").arg(self.stage.apps()).arg("--recordings").arg(self.path.join("recordings"));
        command.args(["--latency", "none", "--key", KEY]).args(more);
        Program::start("nexus-replay", &mut command, &self.path.join("replay.log"), START)
    }

    /// What a client makes of the answers to a question.
    fn ask(&self, client: &str, replay: &Program, key: &str, question: &Value) -> Result<Value> {
        let mut child = Command::new(&self.python)
            .arg(folder().join("speak.py"))
            .args([client, replay.said("listening")?, key])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("Python cannot be started")?;
        child.stdin.take().context("standard input is not there")?.write_all(question.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).with_context(|| format!("{client} said nothing: {told}"))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// A question that was recorded, as the prompt of the fixture renders it, and the recorded answer.
fn question(text: &str) -> Value {
    json!({
        "model": "small",
        "messages": [
            { "role": "system", "content": WEIGH },
            { "role": "user", "content": text },
        ],
        "schema": {
            "type": "object", "additionalProperties": false, "required": ["grams"],
            "properties": { "grams": { "type": "integer" } },
        },
    })
}

#[test]
fn the_providers_own_clients_understand_the_stand_in() -> Result<()> {
    let room = Room::new()?;
    let replay = room.replay(&[])?;
    let recorded = input("weigh", 3);
    let question = question(recorded["text"].as_str().context("the fixture's input has no text")?);
    let answer = Fixture::new(APP, Taste::Rule)?.answer("weigh", &recorded);
    for (client, done) in CLIENTS.into_iter().zip(["stop", "end_turn", "stop"]) {
        let said = room.ask(client, &replay, KEY, &question)?;
        for way in ["whole", "streamed"] {
            let text = said[way]["text"].as_str().with_context(|| format!("{client}, {way}: {said}"))?;
            assert_eq!(serde_json::from_str::<Value>(text)?, answer, "{client}, {way}");
            assert_eq!(said[way]["reason"], done, "{client}, {way}");
            assert_eq!(said[way]["tokens"], json!([60, 8]), "{client}, {way}");
        }
        assert!(said["streamed"]["pieces"].as_u64() > Some(1), "{client}: {said}");
        match client {
            "anthropic" => {
                let text = said["tool"]["text"].as_str().with_context(|| said.to_string())?;
                assert_eq!(serde_json::from_str::<Value>(text)?, answer);
                assert_eq!(said["tool"]["reason"], "tool_use");
            }
            "ollama" => assert_eq!(said["listed"]["text"], "coder"),
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn the_providers_own_clients_raise_the_errors_that_they_have_for_it() -> Result<()> {
    let room = Room::new()?;
    let recorded = input("weigh", 3);
    let known = question(recorded["text"].as_str().context("the fixture's input has no text")?);
    let errors = |error: &'static str| [error, error, "ResponseError"];
    for (faults, key, question, names, status) in [
        ("", "wrong", &known, errors("AuthenticationError"), Some(401)),
        ("", KEY, &question("nobody recorded this"), errors("NotFoundError"), Some(404)),
        ("429=1", KEY, &known, errors("RateLimitError"), Some(429)),
        ("500=1", KEY, &known, errors("InternalServerError"), Some(500)),
    ] {
        let replay = room.replay(&["--faults", faults])?;
        for (client, name) in CLIENTS.into_iter().zip(names) {
            let said = room.ask(client, &replay, key, question)?;
            for way in ["whole", "streamed"] {
                assert_eq!(said[way]["error"], name, "{client}, {way}, {faults}: {said}");
                assert_eq!(said[way]["status"], json!(status), "{client}, {way}, {faults}: {said}");
            }
        }
    }
    let replay = room.replay(&["--faults", "truncate=1"])?;
    for client in CLIENTS {
        let said = room.ask(client, &replay, KEY, &known)?;
        for way in ["whole", "streamed"] {
            assert!(said[way]["error"].is_string(), "{client}, {way}: a half answer passes for a whole one: {said}");
        }
    }
    Ok(())
}
