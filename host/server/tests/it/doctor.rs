//! `nexus doctor`: every fault that it looks for is made, and found, with its mend.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    thread,
};

use nexus_tests::RedisServer;
use serde_json::Value;

use crate::{
    program::{Served, run, text},
    support::{ShoutingEndpoint, break_app, write_app},
};

/// What the doctor says.
struct Report {
    code: i32,
    checks: Vec<Value>,
}

impl Report {
    /// Asserts that a check came out so, with these words in what was found and in the mend.
    fn has(&self, check: &str, outcome: &str, found: &str, mend: &str) {
        let fits = |one: &&Value| {
            let has = |field: &str, word: &str| one[field].as_str().unwrap_or_default().contains(word);
            one["check"] == check && one["outcome"] == outcome && has("found", found) && has("mend", mend)
        };
        assert!(self.checks.iter().any(|one| fits(&one)), "{check} {outcome} {found} {mend}: {:#?}", self.checks);
        assert_eq!(self.code, i32::from(self.checks.iter().any(|one| one["outcome"] == "fail")));
    }

    /// Whether nothing failed but the compiler that [`Ward::look`] names.
    fn is_well(&self) -> bool {
        self.checks.iter().all(|one| one["outcome"] != "fail" || one["check"] == "compiler")
    }
}

/// A place where a server could run.
struct Ward {
    dir: tempfile::TempDir,
}

impl Ward {
    /// With these settings; the port is any.
    fn new(settings: &str) -> Self {
        let ward = Self { dir: tempfile::tempdir().unwrap() };
        ward.set(settings);
        ward
    }

    fn set(&self, settings: &str) {
        fs::write(self.path("nexus.yaml"), format!("data_dir: data\nlisten: 127.0.0.1:0\n{settings}")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A data directory as a server makes it.
    fn with_data(self) -> Self {
        fs::create_dir(self.path("data")).unwrap();
        fs::set_permissions(self.path("data"), PermissionsExt::from_mode(0o700)).unwrap();
        self
    }

    fn look(&self) -> Report {
        self.look_with(&[], &[])
    }

    /// With a compiler that fails at once: to see a real one work takes seconds.
    fn look_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Report {
        self.examine(&[&["--set", "wasm.compiler=/bin/false"], arguments].concat(), variables)
    }

    fn examine(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Report {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
        command.current_dir(self.dir.path()).env_clear().args(["doctor", "--json"]).args(arguments);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(report["ok"], output.status.success(), "{output:?}");
        let checks = report["checks"].as_array().unwrap().clone();
        assert!(checks.iter().all(|one| one["outcome"] == "ok" || one["mend"].is_string()), "{checks:#?}");
        Report { code: output.status.code().unwrap(), checks }
    }
}

/// An address where nobody listens.
fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Speaks as a Redis of version 6 does, as far as it is asked: yes to everything, and the version to a script.
fn old_redis() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || old_answers(stream));
        }
    });
    address.to_string()
}

fn old_answers(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(line) = lines.next() {
        let parts: usize = line?.trim_start_matches('*').parse().unwrap_or_default();
        let mut command = Vec::new();
        for _ in 0..parts {
            lines.next().transpose()?;
            command.extend(lines.next().transpose()?);
        }
        let is_script = command.first().is_some_and(|name| name.to_uppercase().starts_with("EVAL"));
        let answer = if is_script { "*3\r\n$5\r\n6.2.1\r\n$0\r\n\r\n$0\r\n\r\n" } else { "+OK\r\n" };
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Answers every request with `answer`, until the test ends.
fn endpoint(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).and_then(|_| stream.write_all(answer.as_bytes()));
        }
    });
    address.to_string()
}

const FINE: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[test]
fn nothing_is_wrong_before_the_first_start() {
    let endpoint = endpoint(FINE);
    let models = format!("models:\n  coder: {{ endpoint: \"http://{endpoint}\", model: m }}\n");
    let ward = Ward::new(&models);
    let report = ward.examine(&[], &[]);
    assert_eq!(report.code, 0, "{:#?}", report.checks);
    for (check, found) in [
        ("settings", "1 model, store embedded"),
        ("data directory", "the first start makes it"),
        ("master key", "none yet"),
        ("store", "nothing is there yet"),
        ("definitions", "the first start makes it"),
        ("secrets", "0 secrets"),
        ("model coder", "answers"),
        ("listen", "is free"),
        ("compiler", "builds, compiles and runs code"),
    ] {
        report.has(check, "ok", found, "");
    }
    assert!(!ward.path("data").exists(), "the doctor makes nothing");
    let shown = run(ward.dir.path(), &["doctor"]);
    assert!(shown.status.success(), "{shown:?}");
    let shown = text(&shown.stdout);
    assert!(shown.lines().all(|line| line.starts_with("ok    ") || line.starts_with("warn  ")), "{shown}");
    assert!(!shown.contains('\u{1b}'), "colour is for terminals only");
}

#[test]
fn settings_that_cannot_be_read_are_all_that_is_said() {
    let ward = Ward::new("limits:\n  body_byte: 10\n");
    let report = ward.look();
    report.has("settings", "fail", "nexus.yaml:4:3: unknown field `body_byte`", "correct that place in the file");
    assert!(report.checks.len() <= 2, "{:#?}", report.checks);
    let report = ward.look_with(&["--config", "nowhere.yaml"], &[]);
    report.has("settings", "fail", "`nowhere.yaml` cannot be read", "name the file with --config");
    ward.set("limits: { in_flight: 0 }\n");
    ward.look().has("settings", "fail", "`limits.in_flight` must be more than 0", "correct these values");
    ward.set("");
    let report = ward.look_with(&["--set", "limits.bodies=1"], &[]);
    report.has("settings", "fail", "unknown field `bodies`", "correct the flag");
    let report = ward.look_with(&[], &[("NEXUS_LIMIT__DRAIN", "1s")]);
    report.has("settings", "warn", "NEXUS_LIMIT__DRAIN is not the name of a setting", "correct the variable's name");
}

#[test]
fn a_data_directory_that_cannot_be_used() {
    let ward = Ward::new("");
    fs::write(ward.path("data"), "a file").unwrap();
    ward.look().has("data directory", "fail", "`data` is no folder", "name a folder in `data_dir`");
    let report = ward.look_with(&["--data-dir", "data/below"], &[]);
    report.has("data directory", "fail", "`data/below` cannot be used", "correct its owner and mode");

    let ward = Ward::new("").with_data();
    fs::set_permissions(ward.path("data"), PermissionsExt::from_mode(0o755)).unwrap();
    ward.look().has("data directory", "warn", "can be entered by others (mode 755)", "chmod 700 data");

    fs::write(ward.path("data/master-key"), [7; 32]).unwrap();
    fs::set_permissions(ward.path("data/master-key"), PermissionsExt::from_mode(0o644)).unwrap();
    ward.look().has("master key", "fail", "can be read by others", "chmod 600 data/master-key");
    let report = ward.look_with(&[], &[("NEXUS_MASTER_KEY", "0123canary")]);
    report.has("master key", "fail", "NEXUS_MASTER_KEY is not a master key", "bring back the key");
    assert!(!format!("{:?}", report.checks).contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_left_behind_and_what_becomes_of_it() {
    let endpoint = ShoutingEndpoint::start().await;
    let url = endpoint.url.clone();
    tokio::task::spawn_blocking(move || beside_and_after_a_server(&url)).await.unwrap();
}

fn beside_and_after_a_server(url: &str) {
    let ward = Ward::new("");
    write_app(&ward.path("apps"));
    let served = Served::start_with(ward.dir.path(), url, &[], std::process::Stdio::null());
    let listen = format!("listen={}", served.url.strip_prefix("http://").unwrap());
    let beside = ward.look_with(&["--set", &listen], &[]);
    assert!(beside.is_well(), "{:#?}", beside.checks);
    beside.has("data directory", "ok", "a running server has it", "");
    beside.has("store", "ok", "the running server has it open", "");
    beside.has("server", "ok", "is ready", "");
    beside.has("definitions", "ok", "1 application without faults", "");
    let elsewhere = ward.look_with(&["--set", &format!("listen={}", nowhere())], &[]);
    elsewhere.has("server", "fail", "does not answer", "it listens elsewhere");
    let named = ward.look_with(&["--set", "models.coder.key={ secret: gone }"], &[]);
    named.has("secrets", "warn", "`gone` may be in the store", "nexus secret list");
    assert!(served.terminate().success());

    let after = ward.look();
    assert!(after.is_well(), "{:#?}", after.checks);
    after.has("store", "ok", "embedded; it opens", "");
    let named = ward.look_with(&["--set", "models.coder.key={ secret: gone }"], &[]);
    named.has("secrets", "fail", "there is nothing in the secret `gone`", "nexus secret set gone");
    let other = ward.look_with(&[], &[("NEXUS_MASTER_KEY", &"07".repeat(32))]);
    other.has("master key", "fail", "sealed under another master key", "bring back the file `master-key`");

    break_app(&ward.path("apps/echo-desk"));
    let faulty = ward.look();
    faulty.has("apps folder", "fail", "echo-desk: ", "nexus check DIR");
    fs::remove_dir_all(ward.path("apps")).unwrap();
    ward.look().has("apps folder", "fail", "apps", "correct `apps`");
    fs::create_dir(ward.path("apps")).unwrap();
    ward.look().has("apps folder", "fail", "holds no application", "correct `apps`");

    fs::write(ward.path("data/runtime.redb"), "nonsense").unwrap();
    ward.look().has("store", "fail", "is damaged or is no runtime store", "restore it from a backup");
    let blobs = ward.path("data/definitions.git/objects");
    fs::remove_dir_all(blobs).unwrap();
    ward.look().has("definitions", "fail", "is damaged or is no Git repository", "git -C data/definitions.git fsck");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_was_pushed_with_faults() {
    let endpoint = ShoutingEndpoint::start().await;
    let url = endpoint.url.clone();
    let work = move || {
        let ward = Ward::new("");
        write_app(&ward.path("apps"));
        let served = Served::start_with(ward.dir.path(), &url, &[], std::process::Stdio::null());
        let git = |arguments: &[&str]| nexus_tests::git(ward.dir.path(), arguments).unwrap();
        git(&["clone", "-q", "data/definitions.git", "clone"]);
        break_app(&ward.path("clone/echo-desk"));
        git(&["-C", "clone", "commit", "-q", "-a", "-m", "Slip"]);
        git(&["-C", "clone", "push", "-q"]);
        assert!(served.terminate().success());
        ward.look().has("definitions", "fail", "echo-desk: ", "nexus check DIR");
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_applications_with_servers_in_containers_need() {
    let endpoint = ShoutingEndpoint::start().await;
    let url = endpoint.url.clone();
    tokio::task::spawn_blocking(move || with_a_server_in_a_container(&url)).await.unwrap();
}

fn with_a_server_in_a_container(url: &str) {
    let ward = Ward::new("");
    let nowhere = ("--set", "sandbox.docker_host=unix:///nowhere/docker.sock");
    let report = ward.look_with(&[nowhere.0, nowhere.1], &[]);
    report.has("sandboxes", "ok", "no application needs any", "");
    write_app(&ward.path("apps"));
    fs::create_dir(ward.path("apps/desk")).unwrap();
    let yaml = format!(
        "apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: desk }}\nspec:\n  mcp:\n    weather: {{ image: \
         \"sha256:{}\", env: {{ API_KEY: {{ secret: weather-key }} }} }}\n",
        "0a".repeat(32)
    );
    fs::write(ward.path("apps/desk/app.yaml"), yaml).unwrap();
    let off = ("--set", "sandbox.driver=off");
    let served = Served::start_with(ward.dir.path(), url, &[off.0, off.1], std::process::Stdio::null());
    assert!(served.terminate().success());
    let report = ward.look_with(&[nowhere.0, nowhere.1], &[]);
    report.has("sandboxes", "fail", "no Docker engine answers", "`desk` needs it");
    let named = "the MCP server `weather` of `desk`: there is nothing in the secret `weather-key`";
    report.has("secrets", "fail", named, "nexus secret set weather-key --app desk");
    ward.look_with(&[off.0, off.1], &[]).has("sandboxes", "fail", "off, and needed by `desk`", "set `sandbox.driver`");
    let report = ward.look_with(&["--set", "sandbox.driver=process"], &[]);
    report.has("sandboxes", "warn", "nothing isolates", "set `sandbox.driver` to `docker`");
}

#[test]
fn secrets_that_are_named_and_not_there() {
    let address = endpoint(FINE);
    let settings = format!(
        "models:
  coder: {{ endpoint: \"http://{address}\", model: m, key: {{ env: CODER_KEY }} }}
  small: {{ endpoint: \"http://{address}\", model: m, key: {{ file: keys/small }} }}
  large: {{ endpoint: \"http://{address}\", model: m, key: {{ secret: large-key }} }}
secrets: {{ support: {{ hook: {{ env: HOOK }} }} }}
"
    );
    let ward = Ward::new(&settings);
    let report = ward.look();
    for (named, mend) in [
        ("models.coder.key: there is nothing in the environment variable `CODER_KEY`", "set the variable `CODER_KEY`"),
        ("models.small.key: there is nothing in the file `keys/small`", "write it to `keys/small`"),
        ("secrets.support.hook: there is nothing in the environment variable `HOOK`", "set the variable `HOOK`"),
    ] {
        report.has("secrets", "fail", named, mend);
    }
    report.has("secrets", "warn", "models.large.key: the secret `large-key` may be in the store", "nexus secret list");
    fs::create_dir(ward.path("keys")).unwrap();
    fs::write(ward.path("keys/small"), "sk-canary-1").unwrap();
    let known = [("CODER_KEY", "sk-canary-2"), ("NEXUS_SECRET_LARGE_KEY", "sk-canary-3"), ("HOOK", "sk-canary-4")];
    let report = ward.look_with(&[], &known);
    report.has("secrets", "ok", "4 secrets are named and there", "");
    assert!(report.is_well(), "{:#?}", report.checks);
    assert!(!format!("{:?}", report.checks).contains("canary"));
}

#[test]
fn what_cannot_be_reached() {
    let (nobody, taken) = (nowhere(), TcpListener::bind("127.0.0.1:0").unwrap());
    let late = endpoint("HTTP/1.1 200 OK\r\ndate: Wed, 01 Jan 2020 00:00:00 GMT\r\ncontent-length: 0\r\n\r\n");
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    let settings = format!(
        "models:
  small: {{ endpoint: \"http://{nobody}/v1\", model: m }}
  slow: {{ endpoint: \"http://{}/v1\", model: m }}
  late: {{ endpoint: \"http://{late}/v1\", model: m }}
telemetry: {{ otlp_endpoint: \"http://{nobody}\" }}
",
        silent.1
    );
    let ward = Ward::new(&settings).with_data();
    let listen = format!("listen={}", taken.local_addr().unwrap());
    let report = ward.look_with(&["--timeout", "1s", "--set", &listen], &[]);
    report.has("models", "warn", "no model `coder`", "add it to `models`");
    report.has("model small", "fail", "is out of reach: ", "correct `models.small.endpoint`");
    report.has("model slow", "fail", "no answer within 1 s", "correct `models.slow.endpoint`");
    report.has("model late", "ok", "answers", "");
    report.has("clock", "warn", "s apart", "NTP");
    report.has("telemetry", "fail", "is out of reach", "start the collector");
    report.has("listen", "fail", "cannot be listened on", "end what listens there");

    ward.set("definitions: { remote: { url: \"nowhere.git\" } }\n");
    let report = ward.look();
    report.has("models", "warn", "no model is set", "add `models`");
    report.has("definitions remote", "ok", "once there is a repository here", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_asked_only_where_it_is_wished() {
    let endpoint = ShoutingEndpoint::start().await;
    let url = endpoint.url.clone();
    let ward = Ward::new(&format!("models:\n  coder: {{ endpoint: \"{url}\", model: m }}\n"));
    let ward = tokio::task::spawn_blocking(move || {
        assert!(ward.look().is_well());
        ward
    });
    let ward = ward.await.unwrap();
    assert_eq!(endpoint.asked(), 0);
    // The endpoint shouts whatever it is asked, so it never keeps to the schema.
    let asked = tokio::task::spawn_blocking(move || {
        ward.look_with(&["--live"], &[]).has("model coder, asked", "fail", "schema", "");
    });
    asked.await.unwrap();
    assert!(endpoint.asked() > 0);
}

#[test]
fn a_remote_that_does_not_answer() {
    let ward = Ward::new("").with_data();
    let git = |arguments: &[&str]| nexus_tests::git(ward.dir.path(), arguments).unwrap();
    git(&["init", "-q", "--bare", "-b", "main", "data/definitions.git"]);
    let remote = |url: &str| ward.set(&format!("definitions: {{ remote: {{ url: \"{url}\" }} }}\n"));
    remote("nowhere.git");
    ward.look().has("definitions remote", "fail", "nowhere.git cannot be used", "correct `definitions.remote`");
    remote("https://example.com/x.git");
    ward.look().has("definitions remote", "fail", "`https://` is not spoken", "correct `definitions.remote`");
    git(&["init", "-q", "--bare", "-b", "main", "remote.git"]);
    remote("remote.git");
    ward.look().has("definitions remote", "ok", "remote.git answers", "");
}

#[test]
fn a_redis_that_is_gone_old_or_forgetful() {
    let nobody = nowhere();
    let ward = Ward::new(&format!("store: redis://{nobody}\n")).with_data();
    ward.look().has("store", "fail", "cannot be used", "start Redis there");
    ward.set(&format!("store: redis://{nobody}\nredis: {{ password: {{ env: REDIS_PASSWORD }} }}\n"));
    ward.look().has("store", "fail", "`redis.password`", "put it there");

    ward.set(&format!("store: redis://{}\n", old_redis()));
    ward.look().has("store", "fail", "is a Redis of version 6.2.1, and 7 or later is needed", "upgrade it");

    let folder = tempfile::tempdir().unwrap();
    let options = ["--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"];
    let redis = RedisServer::start_with(folder.path(), &options).unwrap();
    ward.set(&format!("store: {}\n", redis.url()));
    let report = ward.look();
    report.has("store", "ok", "answers, version ", "");
    report.has("store", "warn", "keeps no append-only file", "set `appendonly yes`");
    report.has("store", "warn", "removes keys when it is full", "maxmemory-policy noeviction");
    redis.cli(&["config", "set", "requirepass", "canary"]).unwrap();
    ward.look().has("store", "fail", "cannot be used", "redis.password");
}

#[test]
fn a_compiler_that_is_none() {
    let ward = Ward::new("");
    ward.look().has("compiler", "fail", "", "`wasm.compiler` must be a `nexus` program");
    let report = ward.look_with(&["--set", "wasm.compiler=/nowhere/nexus"], &[]);
    report.has("compiler", "fail", "No such file", "`wasm.compiler` must be");
}
