//! Operations that a program in a container answers, on a real engine.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nexus_tests::{DockerEngine, House, Stage, programs, python};
use serde_json::{Value, json};

const APP: &str = "room";
const WORKER: &str = "nexus-echo-worker";

/// An engine, and the image of the worker in it, by its id.
fn engine(folder: &Path) -> Result<(DockerEngine, String)> {
    let engine = DockerEngine::find_or_start(&folder.join("engine"))?;
    let (program, context) = (programs()?.join(WORKER), folder.join("image"));
    fs::create_dir(&context)?;
    fs::copy(&program, context.join(WORKER))
        .with_context(|| format!("{} is not there: `cargo xtask test` builds it", program.display()))?;
    let dockerfile = format!("FROM scratch\nCOPY {WORKER} /{WORKER}\nENTRYPOINT [\"/{WORKER}\"]\n");
    fs::write(context.join("Dockerfile"), dockerfile)?;
    engine.build("nexus-test-echo-worker", &context)?;
    let id = engine.docker(["image", "inspect", "--format", "{{.Id}}", "nexus-test-echo-worker"])?;
    Ok((engine, id.trim().to_owned()))
}

fn write_app(stage: &Stage, image: &str, command: &str, mib: u32) -> Result<PathBuf> {
    let app = stage.apps().join(APP);
    fs::create_dir_all(&app)?;
    fs::write(app.join("any.json"), "{}")?;
    let operations = "    echo: { input: any.json, output: any.json, worker: {} }\n\
        \x20   slow: { input: any.json, output: any.json, worker: { sleep_ms: 8000 } }\n\
        \x20   count: { input: any.json, output: any.json, worker: { tool: core.state.increment, times: 200 } }\n\
        \x20   look: { input: any.json, output: any.json, worker: { tool: core.state.get, times: 200 } }\n\
        \x20   pry: { input: any.json, output: any.json, worker: { tool: core.definitions.write } }\n";
    let yaml = format!(
        "apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {APP} }}\nspec:\n  operations:\n{operations}\
         \x20 tools: {{ allow: [core.state.*] }}\n  limits: {{ timeout: 30s }}\n\
         \x20 sandbox: {{ image: \"{image}\", command: {command}, min: 1, max: 2, memory_mib: {mib} }}\n",
    );
    fs::write(app.join("app.yaml"), yaml)?;
    Ok(app)
}

fn start(stage: &Stage, engine: &DockerEngine) -> Result<House> {
    start_with(stage, &format!("sandbox: {{ docker_host: \"{}\" }}\n", engine.address()?))
}

fn start_with(stage: &Stage, settings: &str) -> Result<House> {
    let house = stage.start_with(settings, Some(stage.apps()))?;
    for _ in 0..600 {
        if house.api.get("/v1/sandboxes")?.success()?["apps"][APP]["ready"].as_u64().is_some_and(|ready| ready > 0) {
            return Ok(house);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("no sandbox was ready in time: {}", house.api.get("/v1/sandboxes")?.json())
}

/// The ids of the sandboxes that the engine has.
fn sandboxes(engine: &DockerEngine) -> Result<Vec<String>> {
    let ids = engine.docker(["ps", "--quiet", "--no-trunc", "--filter", "ancestor=nexus-test-echo-worker"])?;
    Ok(ids.lines().map(ToOwned::to_owned).collect())
}

fn run(house: &House, operation: &str, input: &Value) -> Result<Value> {
    house.api.call(APP, operation, input)?.success()
}

#[test]
#[expect(clippy::print_stdout, reason = "a figure for whoever looks; it is no condition")]
fn a_container_answers_and_has_nothing_but_its_streams() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (engine, image) = engine(folder.path())?;
    let stage = Stage::new(folder.path())?;
    write_app(&stage, &image, "[]", 64)?;
    let house = start(&stage, &engine)?;
    assert_eq!(run(&house, "echo", &json!({ "a": [1, "ü"] }))?, json!({ "a": [1, "ü"] }));

    let counted = run(&house, "count", &json!({ "key": "n" }))?;
    assert_eq!(counted["result"], json!({ "value": 200 }));
    let looked = run(&house, "look", &json!({ "key": "n" }))?;
    assert_eq!(looked["result"], json!({ "value": 200 }));
    let mut micros: Vec<u64> = serde_json::from_value(looked["micros"].clone())?;
    micros.sort_unstable();
    println!("a tool call from a warm sandbox and back: p50 {} µs, p99 {} µs", micros[100], micros[197]);

    let pried = run(&house, "pry", &json!({})).unwrap_err().to_string();
    ensure!(pried.contains("sandbox_failed") || pried.contains("forbidden"), "{pried}");

    let ids = sandboxes(&engine)?;
    ensure!(!ids.is_empty(), "there is no container");
    let inspected: Value = serde_json::from_str(&engine.docker(["inspect", &ids[0]])?)?;
    let (host, config) = (&inspected[0]["HostConfig"], &inspected[0]["Config"]);
    for (what, is, wanted) in [
        ("capabilities", &host["CapDrop"], json!(["ALL"])),
        ("root", &host["ReadonlyRootfs"], json!(true)),
        ("network", &host["NetworkMode"], json!("none")),
        ("memory", &host["Memory"], json!(64 << 20)),
        ("memory and swap", &host["MemorySwap"], json!(64 << 20)),
        ("mounts", &inspected[0]["Mounts"], json!([])),
        ("privileged", &host["Privileged"], json!(false)),
        ("end of input", &config["StdinOnce"], json!(true)),
        ("removed at its end", &host["AutoRemove"], json!(true)),
    ] {
        assert_eq!(*is, wanted, "{what}");
    }
    ensure!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{}", host["SecurityOpt"]);
    ensure!(host["PidsLimit"].as_u64().is_some_and(|pids| pids <= 128), "{}", host["PidsLimit"]);
    ensure!(!["", "0", "root", "0:0"].contains(&config["User"].as_str().unwrap_or_default()), "{}", config["User"]);
    ensure!(config["Env"].to_string().find("NEXUS").is_none(), "{}", config["Env"]);

    // One that dies takes its execution along, and is replaced.
    let (killed, lost) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| run(&house, "slow", &json!({})));
        std::thread::sleep(Duration::from_secs(2));
        let killed = sandboxes(&engine)
            .and_then(|ids| ids.iter().try_for_each(|id| engine.docker(["kill", id]).map(drop)).map(|()| ids.len()));
        (killed, slow.join())
    });
    ensure!(killed? > 0, "nothing was there to kill");
    let lost = lost.map_err(|_| anyhow::anyhow!("the call broke off"))?.unwrap_err().to_string();
    ensure!(lost.contains("sandbox_lost"), "{lost}");
    assert_eq!(run(&house, "echo", &json!(1))?, json!(1));

    house.stop()?;
    assert_eq!(sandboxes(&engine)?, Vec::<String>::new(), "a server that stops leaves no sandbox");
    Ok(())
}

#[test]
fn a_program_on_the_ordinary_library_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::new(folder.path())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/echo_worker.py");
    let command = json!([python()?, script]).to_string();
    // No container: what is shown is that the channel asks for nothing beyond the protocol.
    write_app(&stage, &format!("sha256:{}", "0".repeat(64)), &command, 2048)?;
    let house = start_with(&stage, "sandbox: { driver: process }\n")?;
    assert_eq!(run(&house, "echo", &json!({ "a": [1, "ü"] }))?, json!({ "a": [1, "ü"] }));
    assert_eq!(run(&house, "count", &json!({ "key": "n" }))?, json!({ "value": 1 }));
    let pried = run(&house, "pry", &json!({})).unwrap_err().to_string();
    ensure!(pried.contains("forbidden"), "{pried}");
    house.stop()
}

/// An application whose programs mean ill, beside one whose programs do not; the advisor's one tool is approved.
fn hostile_house(folder: &Path) -> Result<(Stage, House)> {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    let stage = Stage::new(folder)?;
    let worker = |script: &str| Ok::<_, anyhow::Error>(json!([python()?, interop.join(script)]).to_string());
    let image = format!("sha256:{}", "0".repeat(64));
    let app = write_app(&stage, &image, &worker("hostile_worker.py")?, 256)?;
    let yaml = fs::read_to_string(app.join("app.yaml"))?
        .replace("allow: [core.state.*]", "allow: [core.state.*, helper.advise]")
        .replace("  tools:", "  mcp: { helper: { host: advisor } }\n  tools:");
    fs::write(app.join("app.yaml"), &yaml)?;
    fs::create_dir_all(app.join("mcp"))?;
    let tool = json!({ "name": "advise", "description": "Gives advice.", "inputSchema": { "type": "object" } });
    fs::write(app.join("mcp/helper.tools.json"), json!({ "tools": { "advise": tool } }).to_string())?;
    let other = stage.apps().join("quiet");
    fs::create_dir_all(&other)?;
    fs::write(other.join("any.json"), "{}")?;
    let command = worker("echo_worker.py")?;
    let yaml = format!(
        "apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: quiet }}\nspec:\n  operations: {{ echo: {{ input: \
         any.json, output: any.json, worker: {{}} }} }}\n  sandbox: {{ image: \"{image}\", command: {command}, max: 1 }}\n",
    );
    fs::write(other.join("app.yaml"), yaml)?;
    let advisor = json!({ "program": python()?, "args": [interop.join("advisor.py")] });
    let settings = format!("sandbox: {{ driver: process }}\nmcp: {{ programs: {{ advisor: {advisor} }} }}\n");
    let house = start_with(&stage, &settings)?;
    Ok((stage, house))
}

/// The most memory that the server ever had, in KiB.
fn peak(house: &House) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", house.nexus.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak is told")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn a_program_that_means_ill_ends_itself_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_stage, house) = hostile_house(folder.path())?;
    let quiet = |value: &Value| house.api.call("quiet", "echo", value)?.success();
    assert_eq!(quiet(&json!(1))?, json!(1));
    let before = peak(&house)?;
    for what in ["frame", "broken"] {
        let lost = run(&house, "echo", &json!({ "do": what })).unwrap_err().to_string();
        ensure!(lost.contains("sandbox_lost") || lost.contains("sandbox_failed"), "{what}: {lost}");
        assert_eq!(quiet(&json!(what))?, json!(what));
        assert_eq!(run(&house, "echo", &json!({ "do": "nothing" }))?, json!({ "do": "nothing" }), "it is replaced");
    }
    let grown = peak(&house)? - before;
    ensure!(grown < 128 << 10, "a line of 1 GiB took {grown} KiB of the server's memory");

    // An execution of the other application, and what is done in its name.
    let execution = house.api.call("quiet", "echo", &json!("mine"))?.execution.context("the call has no execution")?;
    let stolen = json!({ "execution": execution, "output": "stolen" });
    for (tool, arguments) in [("core.state.get", json!({ "key": "k" })), ("core.work.finish", stolen)] {
        let foreign = json!({ "do": "foreign", "tool": tool, "arguments": arguments, "execution": execution });
        let lost = run(&house, "echo", &foreign).unwrap_err().to_string();
        ensure!(lost.contains("sandbox_lost"), "{lost}");
    }
    assert_eq!(house.api.get(&format!("/v1/executions/{execution}"))?.success()?["output"], json!("mine"));
    is_recorded(&house, &execution)?;
    house.stop()
}

/// Waits until the audit log tells of a denial with these words.
fn is_recorded(house: &House, words: &str) -> Result<()> {
    let mut recorded = String::new();
    for _ in 0..100 {
        recorded = house.api.get("/v1/audit?limit=100")?.text;
        if recorded.contains(words) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the denial is not in the audit log: {recorded}")
}

#[test]
fn an_order_in_what_a_tool_says_is_denied_and_recorded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_stage, house) = hostile_house(folder.path())?;
    let told = run(&house, "echo", &json!({ "do": "obey" }))?.to_string();
    ensure!(told.contains("forbidden"), "{told}");
    let yaml = house.api.get(&format!("/v1/apps/{APP}/files/app.yaml"))?.text;
    ensure!(yaml.contains("kind: Application"), "the order was followed: {yaml}");
    is_recorded(&house, "core.definitions.write")?;
    house.stop()
}
