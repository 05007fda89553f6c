//! MCP servers that others have written, in containers of their own: set up by the command line, used by clients of others.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{BaseImages, DockerEngine, House, PostgresServer, Stage, programs, python, said};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);

/// A server that may use an engine, and has an application without anything yet.
struct Place {
    engine: DockerEngine,
    house: House,
    /// The application; no other test on the engine has one of this name.
    app: &'static str,
}

impl Place {
    fn prepare(folder: &Path, app: &'static str) -> Result<Self> {
        let engine = DockerEngine::find_or_start(&folder.join("engine"))?;
        let images = BaseImages::make(&engine, &folder.join("images"))?;
        let stage = Stage::new(folder)?;
        let sandboxes = format!("sandbox: {{ docker_host: \"{}\", allow_tags: true }}\n", engine.address()?);
        // What is granted on this machine is not public.
        let egress = "egress: { private_networks: [\"0.0.0.0/0\", \"::/0\"] }\n";
        let house = stage.start_with(&format!("{sandboxes}{egress}{}", images.settings()), None)?;
        let place = Self { engine, house, app };
        place.nexus(&["apps", "import", &written(&folder.join(app), app)?.display().to_string()])?;
        place.has_sandboxes()?;
        Ok(place)
    }

    fn nexus(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(programs()?.join("nexus"));
        command.args(arguments).args(["--url", self.house.api.base()]).env("NEXUS_KEY", &self.house.key);
        said(&mut command)
    }

    fn has_sandboxes(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.house.api.get("/v1/sandboxes")?.json()["available"] != true {
            ensure!(Instant::now() < end, "there are no sandboxes: {}", self.house.api.get("/v1/sandboxes")?.text);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Adds a server of the catalogue and approves all that it offers.
    fn add(&self, server: &str, name: &str, more: &[&str]) -> Result<()> {
        self.nexus(&[&["mcp", "add", self.app, server, "--name", name], more].concat())?;
        self.nexus(&["mcp", "approve", self.app, name, "--yes"])?;
        Ok(())
    }

    fn keep_secret(&self, name: &str, value: &str) -> Result<()> {
        let mut command = Command::new(programs()?.join("nexus"));
        command.args(["secret", "set", name, "--app", self.app, "--url", self.house.api.base()]);
        let mut child = command.env("NEXUS_KEY", &self.house.key).stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("there is no input")?.write_all(value.as_bytes())?;
        ensure!(child.wait()?.success(), "the secret was not kept");
        Ok(())
    }

    /// Lets clients use these servers.
    fn allow(&self, servers: &[&str]) -> Result<()> {
        let path = format!("/v1/apps/{}/files/app.yaml", self.app);
        let text = self.house.api.get(&path)?.text;
        let (before, rest) = text.split_once("allow: [").context("nothing is said of what is allowed")?;
        let (_, after) = rest.split_once(']').context("a list has no end")?;
        let allowed = json!(servers.iter().map(|server| format!("{server}.*")).collect::<Vec<_>>());
        let text = format!("{before}allow: {allowed}{after}");
        self.house.api.put(&path, "*", text.as_bytes())?.success().map(drop)
    }

    fn client(&self, script: &str, arguments: &[&str]) -> Result<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(script);
        let url = format!("{}/mcp/{}", self.house.api.base(), self.app);
        let told = said(Command::new(python()?).arg(script).args([&url, &self.house.key]).args(arguments))?;
        serde_json::from_str(&told).with_context(|| format!("{arguments:?} said {told}"))
    }

    /// The containers of this server's application.
    fn containers(&self) -> Result<BTreeSet<String>> {
        let ids = self.engine.docker([
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &format!("label=app={}", self.app),
        ])?;
        Ok(ids.lines().map(ToOwned::to_owned).collect())
    }

    fn inspect(&self, id: &str) -> Result<Value> {
        let told: Value = serde_json::from_str(&self.engine.docker(["inspect", id])?)?;
        Ok(told[0].clone())
    }
}

/// An application that has a server elsewhere, and lets its clients use none.
fn written(folder: &Path, name: &str) -> Result<PathBuf> {
    let text = format!(
        "apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {name} }}\nspec:\n  mcp:\n    elsewhere: {{ url: \
         \"https://mcp.example.com/mcp\" }}\n  tools: {{ allow: [] }}\n"
    );
    std::fs::create_dir(folder)?;
    std::fs::write(folder.join("app.yaml"), text)?;
    Ok(folder.to_owned())
}

#[test]
fn servers_of_the_catalogue_are_put_into_images_and_used() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = Place::prepare(folder.path(), "catalogue")?;
    ensure!(place.nexus(&["mcp", "search", "clock"])?.contains("pypi:mcp-server-time@"), "the catalogue has no clock");
    let refused = place.nexus(&["mcp", "add", place.app, "fetch"]).unwrap_err().to_string();
    ensure!(refused.contains("without a grant of `http`"), "{refused}");
    place.add("time", "time", &[])?;
    place.add("sqlite", "notes", &[])?;
    place.allow(&["time", "notes"])?;

    let call = |tool: &str, arguments: Value| place.client("call.py", &[tool, &arguments.to_string()]);
    let zones = json!({ "source_timezone": "Etc/UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let told = call("time.convert_time", zones)?;
    ensure!(told["text"].to_string().contains("21:00"), "{told}");
    let told = call("notes.execute_sql", json!({ "sql": "create table t (a); insert into t values (17)" }))?;
    ensure!(told["error"] == false, "{told}");

    for id in place.containers()? {
        let container = place.inspect(&id)?;
        let host = &container["HostConfig"];
        for (what, is, wanted) in [
            ("capabilities", &host["CapDrop"], json!(["ALL"])),
            ("root", &host["ReadonlyRootfs"], json!(true)),
            ("network", &host["NetworkMode"], json!("none")),
            ("privileged", &host["Privileged"], json!(false)),
            ("end of input", &container["Config"]["StdinOnce"], json!(true)),
        ] {
            assert_eq!(*is, wanted, "{what}");
        }
        let mounts = container["Mounts"].as_array().context("mounts")?;
        ensure!(mounts.iter().all(|mount| mount["Destination"] == "/data" && mount["Type"] == "volume"), "{mounts:?}");
    }

    // One that was killed is started again, and finds what it kept.
    for id in place.containers()? {
        place.engine.docker(["kill", &id])?;
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let told = call("notes.execute_sql", json!({ "sql": "select a from t" }))?;
        if told["error"] == false {
            ensure!(told["text"].to_string().contains("17"), "{told}");
            break;
        }
        ensure!(Instant::now() < end, "the server does not come back: {told}");
        std::thread::sleep(Duration::from_millis(500));
    }

    let named = place.nexus(&["mcp", "remove", place.app, "time"]).unwrap_err().to_string();
    ensure!(named.contains("no MCP server") && named.contains("app.yaml:"), "what is named is not taken out: {named}");
    place.allow(&["notes"])?;
    place.nexus(&["mcp", "remove", place.app, "time"])?;
    let listed = place.nexus(&["mcp", "list", place.app])?;
    ensure!(!listed.contains("time") && listed.contains("notes"), "{listed}");
    place.house.stop()
}

#[test]
fn a_server_in_a_container_reaches_the_database_that_it_is_granted_and_nothing_else() -> Result<()> {
    let (folder, data) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let database = PostgresServer::start(data.path())?;
    let place = Place::prepare(folder.path(), "database")?;
    // A name that this machine has for itself, as a database has one in its network.
    let name = said(&mut Command::new("hostname"))?.trim().to_owned();
    let granted = format!("tcp={name}:{}", database.port());
    place.keep_secret("stock-db", &database.url(&name))?;
    place.add("postgres", "stock", &["--grant", &granted, "--secret", "DSN=stock-db"])?;
    place.add("fetch", "pages", &["--grant", "http=https://granted.example"])?;
    place.allow(&["stock", "pages"])?;
    let call = |tool: &str, arguments: Value| place.client("call.py", &[tool, &arguments.to_string()]);
    let sql = |sql: &str| call("stock.execute_sql", json!({ "sql": sql }));
    let told = sql("create table sacks (grams integer); insert into sacks values (25000), (17)")?;
    ensure!(told["error"] == false, "{told}");
    let told = sql("select sum(grams) as all_of_them from sacks")?;
    ensure!(told["text"].to_string().contains("25017"), "{told}");

    let refused = call("pages.fetch", json!({ "url": "https://other.example/" }))?;
    ensure!(refused["error"] == true, "{refused}");
    let log = place.house.nexus.tail(1_000);
    ensure!(log.contains("other.example") && log.contains("asked what it may not"), "{log}");
    for id in place.containers()? {
        let mode = place.inspect(&id)?["HostConfig"]["NetworkMode"].as_str().unwrap_or_default().to_owned();
        ensure!(mode == "none" || mode.starts_with("container:"), "{mode}");
    }
    place.house.stop()
}

#[test]
fn ten_agents_share_the_containers_of_ten_servers() -> Result<()> {
    const AGENTS: u64 = 10;
    const ROUNDS: u64 = 4;
    let folder = tempfile::tempdir()?;
    let place = Place::prepare(folder.path(), "agents")?;
    let servers: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = servers.iter().map(String::as_str).collect();
    assert_eq!(place.containers()?.len(), 0, "before");
    for name in &names {
        place.add("everything", name, &[])?;
    }
    place.allow(&names)?;
    let before = place.containers()?;
    let tools: Vec<String> = servers.iter().map(|name| format!("{name}.echo")).collect();
    let (agents, rounds) = (AGENTS.to_string(), ROUNDS.to_string());
    let arguments: Vec<&str> = [agents.as_str(), &rounds].into_iter().chain(tools.iter().map(String::as_str)).collect();
    let (told, most) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| place.client("agents.py", &arguments));
        let mut most = 0;
        while !asked.is_finished() {
            most = most.max(place.containers().map_or(0, |containers| containers.len()));
            std::thread::sleep(Duration::from_millis(200));
        }
        (asked.join(), most)
    });
    let told = told.map_err(|_| anyhow::anyhow!("the agents broke off"))??;
    let calls = AGENTS * ROUNDS * 10;
    assert_eq!(told, json!({ "answered": calls, "own": calls, "listed": 10 }));
    assert_eq!((before.len(), most), (10, 10), "one container for each server, and none for a call");
    assert_eq!(place.containers()?, before, "they are the same as before the {calls} calls");
    let children = said(Command::new("ps").args(["-o", "stat=", "--ppid", &place.house.nexus.id().to_string()]));
    ensure!(!children.unwrap_or_default().contains('Z'), "the server has left a process unburied");
    let Place { engine, house, app } = place;
    house.stop()?;
    let left = engine.docker(["ps", "--all", "--quiet", "--filter", &format!("label=app={app}")])?;
    assert_eq!(left.trim(), "", "a server that stops leaves no container");
    Ok(())
}
