//! `docker-compose.yml` on a real engine: what is started is as closed as the file says, serves, has sandboxes and nothing else of
//! the engine, and keeps its data.
//!
//! The image of Nexus is the last stage of `host/Dockerfile` on what `cargo xtask dist` has built; that of Redis has this
//! machine's `redis-server`. No registry is asked.

use std::{
    fs::{Permissions, copy, create_dir_all, read_to_string, set_permissions, write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nexus_tests::{Api, DockerEngine, FIXTURE_INPUTS, Fixture, Stage, Taste, input, programs, said, transplant};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const APP: &str = "scale-room";
/// The application with a program in a sandbox.
const SANDBOXED: &str = "echo-room";
const WORKER: &str = "nexus-echo-worker";
const SERVICES: [&str; 3] = ["nexus", "redis", "engine"];
/// Longer than anything takes, however slow the machine.
const PATIENCE: Duration = Duration::from_mins(3);

#[test]
fn compose_starts_what_is_closed_serves_and_keeps_its_data() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = DockerEngine::find_or_start(&folder.path().join("engine"))?;
    let host = SelfHost::prepare(&engine, folder.path())?;
    host.up()?;
    for service in SERVICES {
        host.is_closed(service)?;
    }
    host.refuses_writes_to_its_root()?;
    host.keeps_redis_to_itself()?;
    host.keeps_the_engine_to_its_guard()?;

    // As the README says it.
    let key = host.exec("nexus", &["nexus", "key", "create", "--name", "me", "--scope", "admin"])?;
    host.exec("nexus", &["nexus", "apps", "import", "/usr/share/nexus/apps/pricing"])?;
    host.keep_secret("openai", "sk-replay")?;
    let api = host.api(&key)?;
    let order = json!({ "currency": "EUR", "lines": [{ "sku": "oak", "quantity": 3, "unit_price": "19.99" }] });
    let total = api.call("pricing", "total", &order)?.success()?;
    let made_by_model = host.teach(&api)?;
    host.has_sandboxes(&api)?;
    host.refuses_what_is_no_sandbox()?;

    host.killed_and_started_again(&key)?;
    host.down()?;
    host.up()?;
    let api = host.api(&key)?;
    ensure!(api.call("pricing", "total", &order)?.success()? == total, "the imported application answers otherwise");
    let execution = api.get(&format!("/v1/executions/{made_by_model}"))?.success()?;
    ensure!(execution["path"] == "model", "{execution}");
    let code = api.call(APP, "convert", &input("convert", FIXTURE_INPUTS + 2))?;
    ensure!(code.path.as_deref() == Some("component"), "{code:?}");
    // The secret of the model's key was kept, too.
    let model = api.call(APP, "weigh", &input("weigh", 1))?;
    ensure!(model.path.as_deref() == Some("model"), "{model:?}");
    Ok(())
}

/// The services of `docker-compose.yml` under a name of their own, and all that belongs to them taken away at the end.
struct SelfHost<'a> {
    engine: &'a DockerEngine,
    name: String,
    stage: PathBuf,
    /// The engine's socket and its group.
    socket: String,
    group: String,
}

impl<'a> SelfHost<'a> {
    fn prepare(engine: &'a DockerEngine, folder: &Path) -> Result<Self> {
        let stage = folder.join("stage");
        Stage::new(&stage)?.add(&Fixture::new(APP, Taste::Rule)?)?;
        // Read by another user within a container.
        set_permissions(folder, Permissions::from_mode(0o755))?;
        let address = engine.address()?;
        let socket =
            address.strip_prefix("unix://").with_context(|| format!("{address} is no socket to be mounted"))?;
        let group = Path::new(socket).metadata()?.gid().to_string();
        let name = format!("nexus-test-{}", std::process::id());
        let host = Self { engine, name, stage, socket: socket.to_owned(), group };
        engine.build(&host.image("nexus"), &nexus_image(&folder.join("nexus-image"), &host.name)?)?;
        engine.build(&host.image("redis"), &redis_image(&folder.join("redis-image"))?)?;
        engine.build(&host.image("worker"), &worker_image(&folder.join("worker-image"))?)?;
        Ok(host)
    }

    fn image(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = self.engine.compose();
        command.current_dir(root()).args(["--project-name", &self.name, "--file", "docker-compose.yml"]);
        command.args(["--file", "tests/fixtures/compose.replay.yml"]).args(arguments);
        command.env("NEXUS_IMAGE", self.image("nexus")).env("REDIS_IMAGE", self.image("redis"));
        command.env("NEXUS_PORT", "0").env("STAGE", &self.stage);
        command.env("DOCKER_SOCKET", &self.socket).env("DOCKER_GROUP", &self.group);
        command
    }

    /// Starts all and waits until all are healthy.
    fn up(&self) -> Result<()> {
        said(&mut self.compose(&["up", "--detach", "--no-build"]))?;
        SERVICES.iter().try_for_each(|service| self.becomes_healthy(service))
    }

    fn down(&self) -> Result<()> {
        said(&mut self.compose(&["down"])).map(drop)
    }

    fn becomes_healthy(&self, service: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = &self.inspect(service)?["State"];
            if state["Health"]["Status"] == "healthy" {
                return Ok(());
            }
            if Instant::now() > end {
                let log = said(&mut self.compose(&["logs", "--tail", "40"]))?;
                bail!("{service} does not become healthy: {state}\n{log}");
            }
            sleep(Duration::from_millis(200));
        }
    }

    fn inspect(&self, service: &str) -> Result<Value> {
        let id = said(&mut self.compose(&["ps", "--quiet", service]))?;
        let told: Value = serde_json::from_str(&self.engine.docker(["inspect", &id])?)?;
        Ok(told[0].clone())
    }

    fn exec(&self, service: &str, command: &[&str]) -> Result<String> {
        said(&mut self.compose(&[&["exec", "-T", service], command].concat()))
    }

    /// A secret as its owner pipes it in.
    fn keep_secret(&self, name: &str, value: &str) -> Result<()> {
        let file = self.stage.with_extension("secret");
        write(&file, value)?;
        let mut command = self.compose(&["exec", "-T", "nexus", "nexus", "secret", "set", name]);
        let output = command.stdin(Stdio::from(std::fs::File::open(&file)?)).output()?;
        ensure!(output.status.success(), "{command:?}: {output:?}");
        Ok(())
    }

    fn api(&self, key: &str) -> Result<Api> {
        let address = said(&mut self.compose(&["port", "nexus", "7070"]))?;
        ensure!(address.starts_with("127.0.0.1:"), "others than this machine reach {address}");
        Ok(Api::new(&format!("http://{address}"), Some(key)))
    }

    /// What was asked of the engine, and what the kernel says of the process.
    fn is_closed(&self, service: &str) -> Result<()> {
        let told = self.inspect(service)?;
        let host = &told["HostConfig"];
        ensure!(host["ReadonlyRootfs"] == true && host["Privileged"] == false, "{service}: {host}");
        ensure!(host["CapDrop"] == json!(["ALL"]) && host["CapAdd"].is_null(), "{service}: {host}");
        ensure!(host["RestartPolicy"]["Name"] == "unless-stopped", "{service}: {host}");
        for bound in ["Memory", "PidsLimit"] {
            ensure!(host[bound].as_u64() > Some(0), "{service} has no bound on {bound}: {host}");
        }
        ensure!(host["LogConfig"]["Config"]["max-size"].is_string(), "{service}: {host}");
        let status = read_to_string(format!("/proc/{}/status", told["State"]["Pid"]))?;
        let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        ensure!(!of("Uid:").split_whitespace().any(|id| id == "0"), "{service} is root: {status}");
        for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            ensure!(of(capabilities) == "0000000000000000", "{service} has capabilities: {status}");
        }
        ensure!(of("NoNewPrivs:") == "1" && of("Seccomp:") == "2", "{service}: {status}");
        Ok(())
    }

    fn refuses_writes_to_its_root(&self) -> Result<()> {
        for user in ["65532", "0"] {
            let mut write = self.compose(&["exec", "-T", "--user", user, "nexus", "nexus", "new", "classify"]);
            let refused = said(write.args(["--set", "name=mine", "--dir", "/usr/share/mine"]));
            let told = format!("{:#}", refused.err().context("a file was written to the root")?);
            ensure!(told.contains("Read-only file system"), "{told}");
        }
        Ok(())
    }

    /// Redis is in a network of its own, from which nothing else is reached and which no port leads into.
    fn keeps_redis_to_itself(&self) -> Result<()> {
        self.is_alone_with_nexus("redis")
    }

    /// The guard has the socket, and nobody else has; nobody but nexus reaches the guard.
    fn keeps_the_engine_to_its_guard(&self) -> Result<()> {
        self.is_alone_with_nexus("engine")?;
        for service in SERVICES {
            let told = self.inspect(service)?;
            let mounts = told["Mounts"].as_array().context("there is no list of mounts")?;
            let has_socket = mounts.iter().any(|mount| mount["Source"] == self.socket.as_str());
            ensure!(has_socket == (service == "engine"), "{service}: {mounts:?}");
        }
        let ready = self.exec("nexus", &["nexus", "engine-guard", "--listen", "tcp://engine:2375", "--check"])?;
        ensure!(ready == "ready", "{ready}");
        Ok(())
    }

    fn is_alone_with_nexus(&self, service: &str) -> Result<()> {
        let told = self.inspect(service)?;
        let networks: Vec<_> = told["NetworkSettings"]["Networks"].as_object().into_iter().flatten().collect();
        let [(name, _)] = networks[..] else { bail!("{service} is in several networks: {told}") };
        let internal = self.engine.docker(["network", "inspect", "--format", "{{.Internal}}", name])?;
        ensure!(internal == "true", "{name} leads to the outside");
        let ports = &told["HostConfig"]["PortBindings"];
        ensure!(ports.as_object().is_none_or(serde_json::Map::is_empty), "{ports}");
        Ok(())
    }

    /// A program in a sandbox answers, and its container has nothing but its streams.
    fn has_sandboxes(&self, api: &Api) -> Result<()> {
        let image = self.engine.docker(["image", "inspect", "--format", "{{.Id}}", &self.image("worker")])?;
        // Not where the replay looks for applications.
        let app = self.stage.with_extension("more").join(SANDBOXED);
        create_dir_all(&app)?;
        write(app.join("any.json"), "{}")?;
        let yaml = format!(
            "apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {SANDBOXED} }}\nspec:\n  operations:\n\
             \x20   echo: {{ input: any.json, output: any.json, worker: {{}} }}\n\
             \x20 limits: {{ timeout: 30s }}\n\
             \x20 sandbox: {{ image: \"{image}\", command: [], min: 1, max: 2, memory_mib: 64 }}\n",
        );
        write(app.join("app.yaml"), yaml)?;
        import(api, &app)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let told = api.get("/v1/sandboxes")?.success()?;
            if told["apps"][SANDBOXED]["ready"].as_u64() > Some(0) {
                break;
            }
            if Instant::now() > end {
                let log = said(&mut self.compose(&["logs", "--tail", "40", "nexus", "engine"]))?;
                bail!("no sandbox is ready: {told}\n{log}");
            }
            sleep(Duration::from_millis(200));
        }
        let heard = api.call(SANDBOXED, "echo", &json!({ "a": [1, "ü"] }))?.success()?;
        ensure!(heard == json!({ "a": [1, "ü"] }), "{heard}");
        let ancestor = format!("ancestor={image}");
        let ids = self.engine.docker(["ps", "--quiet", "--no-trunc", "--filter", &ancestor])?;
        let id = ids.lines().next().context("there is no container")?;
        let told: Value = serde_json::from_str(&self.engine.docker(["inspect", id])?)?;
        let host = &told[0]["HostConfig"];
        ensure!(host["NetworkMode"] == "none" && host["ReadonlyRootfs"] == true, "{host}");
        ensure!(host["CapDrop"] == json!(["ALL"]) && told[0]["Mounts"] == json!([]), "{host}");
        Ok(())
    }

    /// What somebody would ask for who has taken over nexus.
    fn refuses_what_is_no_sandbox(&self) -> Result<()> {
        let told = self.inspect("engine")?;
        let mut networks = told["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
        let address =
            networks.find_map(|(_, network)| network["IPAddress"].as_str()).context("the guard has no address")?;
        let (guard, worker) = (format!("tcp://{address}:2375"), self.image("worker"));
        let nexus = self.inspect("nexus")?["Id"].as_str().context("nexus has no id")?.to_owned();
        for hostile in [
            &["run", "--rm", "--privileged", &worker][..],
            &["run", "--rm", "--volume", "/:/host", &worker],
            &["run", "--rm", "--network", "host", &worker],
            &["exec", &nexus, "/usr/bin/nexus", "health"],
            &["kill", &nexus],
            &["volume", "ls"],
            &["ps"],
        ] {
            let words = ["--host", guard.as_str()].into_iter().chain(hostile.iter().copied());
            let Err(refusal) = self.engine.docker(words) else { bail!("{hostile:?} was let through") };
            let why = format!("{refusal:#}");
            ensure!(why.contains("Error response from daemon") || why.contains("No such container"), "{why}");
        }
        let log = said(&mut self.compose(&["logs", "engine"]))?;
        ensure!(log.contains("refused what Nexus does not do"), "{log}");
        Ok(())
    }

    /// Has code written for `convert` by way of the recorded models; an execution that the model has answered.
    fn teach(&self, api: &Api) -> Result<String> {
        import(api, &self.stage.join("apps").join(APP))?;
        let first = api.call(APP, "convert", &input("convert", 0))?;
        ensure!(first.path.as_deref() == Some("model"), "{first:?}");
        for number in 1..FIXTURE_INPUTS {
            api.call(APP, "convert", &input("convert", number))?.success()?;
        }
        let end = Instant::now() + PATIENCE;
        while api.optimization(APP, "convert")?["state"] != "active" {
            ensure!(Instant::now() < end, "no code came: {}", api.optimization(APP, "convert")?);
            sleep(Duration::from_millis(200));
        }
        first.execution.context("the first answer names no execution")
    }

    /// Kills the server as a bug would, and waits until the engine has it back.
    fn killed_and_started_again(&self, key: &str) -> Result<()> {
        let pid = self.inspect("nexus")?["State"]["Pid"].as_i64().context("there is no process")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("the process has no number")?;
        kill_process(pid, Signal::KILL)?;
        let end = Instant::now() + PATIENCE;
        while self.inspect("nexus")?["RestartCount"].as_u64() < Some(1) {
            ensure!(Instant::now() < end, "the engine does not start it again");
            sleep(Duration::from_millis(100));
        }
        self.becomes_healthy("nexus")?;
        self.api(key)?.get("/v1/apps")?.success().map(drop)
    }
}

impl Drop for SelfHost<'_> {
    fn drop(&mut self) {
        // Nothing more can be done about what does not go.
        let _ = said(&mut self.compose(&["down", "--volumes", "--remove-orphans"]));
        let of_test = format!("label=of-test={}", self.name);
        let _ = self.engine.docker(["image", "prune", "--force", "--filter", &of_test]);
        let images = [self.image("nexus"), self.image("redis"), self.image("worker")];
        let _ = self.engine.docker(["image", "rm", "--force"].into_iter().chain(images.iter().map(String::as_str)));
    }
}

fn import(api: &Api, app: &Path) -> Result<()> {
    let mut import = Command::new(programs()?.join("nexus"));
    import.args(["apps", "import", "--url", api.base()]).arg(app);
    said(import.env("NEXUS_KEY", api.key().unwrap_or_default())).map(drop)
}

/// The last stage of `host/Dockerfile`, word for word, with the stage `build` taken from what is built already.
fn nexus_image(folder: &Path, name: &str) -> Result<PathBuf> {
    let dist = dist()?;
    let dockerfile = read_to_string(root().join("host/Dockerfile"))?;
    let (_, last) = dockerfile.split_once("\nFROM scratch\n").context("host/Dockerfile does not end FROM scratch")?;
    let certificates = Path::new("etc/ssl/certs/ca-certificates.crt");
    create_dir_all(folder.join("nexus/target"))?;
    create_dir_all(folder.join(certificates).parent().context("certificates are in a folder")?)?;
    said(Command::new("cp").arg("--recursive").arg(dist).arg(folder.join("nexus/target/dist")))?;
    copy(Path::new("/").join(certificates), folder.join(certificates)).context("install ca-certificates")?;
    let first = format!("FROM scratch AS build\nLABEL of-test={name}\nCOPY . /\n");
    write(folder.join("Dockerfile"), format!("{first}\nFROM scratch\n{last}"))?;
    Ok(folder.to_owned())
}

/// What `cargo xtask dist` has made, if no source of the program has changed since.
fn dist() -> Result<PathBuf> {
    let mend = "run `cargo xtask dist`, as `cargo xtask test` does";
    let programs = programs()?;
    let dist = programs.parent().context("the programs are in the target folder")?.join("dist");
    let made = dist.join("nexus").metadata().and_then(|program| program.modified()).context(mend)?;
    // Written by cargo: the program, a colon, and every file that it was built from.
    let sources = read_to_string(programs.join("nexus.d")).context(mend)?;
    for source in sources.split_whitespace().skip(1) {
        let changed = Path::new(source).metadata().and_then(|source| source.modified());
        ensure!(changed.is_ok_and(|changed| changed <= made), "{source} has changed: {mend}");
    }
    Ok(dist)
}

/// This machine's Redis, laid out as the official image is, and the replay.
fn redis_image(folder: &Path) -> Result<PathBuf> {
    for program in ["redis-server", "redis-cli"] {
        let found = said(Command::new("which").arg(program)).context("run `cargo xtask setup`: there is no Redis")?;
        transplant(Path::new(&found), &Path::new("/usr/bin").join(program), folder)?;
    }
    transplant(&programs()?.join("nexus-replay"), Path::new("/usr/bin/nexus-replay"), folder)?;
    create_dir_all(folder.join("empty"))?;
    let dockerfile =
        "FROM scratch\nCOPY lib /lib\nCOPY lib64 /lib64\nCOPY usr /usr\nCOPY --chown=999:999 empty /data\n";
    write(folder.join("Dockerfile"), dockerfile)?;
    Ok(folder.to_owned())
}

/// The smallest program for a sandbox.
fn worker_image(folder: &Path) -> Result<PathBuf> {
    create_dir_all(folder)?;
    let program = programs()?.join(WORKER);
    copy(&program, folder.join(WORKER))
        .with_context(|| format!("{} is not there: `cargo xtask test` builds it", program.display()))?;
    let dockerfile = format!("FROM scratch\nCOPY {WORKER} /{WORKER}\nENTRYPOINT [\"/{WORKER}\"]\n");
    write(folder.join("Dockerfile"), dockerfile)?;
    Ok(folder.to_owned())
}

fn root() -> &'static Path {
    // The tests are a folder of the workspace.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}
