//! An application is used with MCP clients of others, as pip brings them.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use nexus_tests::{Fixture, Stage, Taste, programs, python, said};
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
