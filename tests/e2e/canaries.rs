//! Fifty secrets are planted where secrets belong; everything is run, the failing ways above all; then they are looked for
//! wherever they must not be: Git, the runtime store, logs, traces, what is exported, answers, the command line's output.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{create_dir_all, read, read_dir, write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use hmac::{Hmac, Mac};
use nexus_tests::{Program, RedisServer, programs};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Variables of the environment.
type Variables = Vec<(String, String)>;

const PATIENCE: Duration = Duration::from_mins(1);
/// Models whose keys are in variables, in files, and among the host's secrets.
const MODELS_EACH: usize = 8;

/// A provider that is no help: it writes down the keys that it is sent, and repeats them wherever an answer leaves room for
/// it, the name of the model included.
async fn echo(State(seen): State<Arc<Mutex<Vec<String>>>>, headers: HeaderMap, body: String) -> Response {
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(key.clone());
    let refused =
        json!({ "error": { "message": format!("Incorrect API key provided: {key}"), "code": key } }).to_string();
    if body.contains("refuse me") {
        return (StatusCode::UNAUTHORIZED, [(header::CONTENT_TYPE, "application/json")], refused).into_response();
    }
    if body.contains("break down") {
        return (StatusCode::INTERNAL_SERVER_ERROR, refused).into_response();
    }
    let content = if body.contains("talk nonsense") { "no JSON" } else { "{\"shout\":\"X\"}" };
    let chunk = json!({
        "id": "x", "object": "chat.completion.chunk", "created": 0, "model": key,
        "choices": [{ "index": 0, "delta": { "content": content }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], format!("data: {chunk}\n\ndata: [DONE]\n\n")).into_response()
}

/// A collector that keeps what it is sent.
async fn collect(State(exported): State<Arc<Mutex<Vec<u8>>>>, body: Bytes) {
    exported.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(body);
}

/// What is planted, by where it belongs, and everything that was said.
struct Stage {
    folder: tempfile::TempDir,
    programs: PathBuf,
    planted: BTreeMap<String, String>,
    said: Vec<(String, String)>,
}

impl Stage {
    /// A new secret.
    fn plant(&mut self, place: String) -> String {
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().replace('-', "");
        let secret = format!("canary{}", random.trim());
        self.planted.insert(place, secret.clone());
        secret
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `nexus` and keeps what it said.
    fn run(&mut self, arguments: &[&str], input: &str, variables: &Variables) -> Result<Output> {
        let mut command = Command::new(self.programs.join("nexus"));
        command.args(arguments).current_dir(self.folder.path()).envs(variables.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("standard input is not there")?;
        // A command that ends early does not read it.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        self.said.push((format!("nexus {}", arguments.join(" ")), text(&output)));
        Ok(output)
    }
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Writes an application with one operation for each model.
fn write_app(apps: &Path, models: &[String]) -> Result<()> {
    let app = apps.join("echo-desk");
    create_dir_all(app.join("schemas"))?;
    create_dir_all(app.join("prompts"))?;
    let mut yaml =
        "apiVersion: nexus/v1\nkind: Application\nmetadata: { name: echo-desk }\nspec:\n  operations:\n".to_owned();
    for model in models {
        let files = format!("input: schemas/in.json, output: schemas/out.json, prompt: prompts/{model}.prompt.yml");
        writeln!(yaml, "    {model}: {{ {files} }}")?;
        let prompt =
            format!("name: p\nmodel: {model}\nmessages: [{{ role: user, content: '{{{{ input.text }}}}' }}]\n");
        write(app.join(format!("prompts/{model}.prompt.yml")), prompt)?;
    }
    yaml += "  triggers:\n    - name: pushes\n      operation: v0\n      on: { webhook: { verify: { scheme: github, secret: hook-0 } } }\n";
    write(app.join("app.yaml"), yaml)?;
    for (file, field) in [("in", "text"), ("out", "shout")] {
        let schema = json!({
            "type": "object", "required": [field], "additionalProperties": false,
            "properties": { field: { "type": "string" } },
        });
        write(app.join(format!("schemas/{file}.json")), schema.to_string())?;
    }
    Ok(())
}

/// The forms in which a secret might turn up: as it is, in hexadecimal, and in base64 at each of its three alignments.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let hex = hex(secret.as_bytes());
    let mut forms = vec![secret.into(), hex.to_uppercase().into(), hex.into()];
    for skip in 0..3 {
        let encoded = base64(&secret.as_bytes()[skip..]);
        // What stands at the end depends on what follows.
        forms.push(encoded[..encoded.len() - 4].into());
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Standard base64 of whole groups of three bytes. A canary has letters and digits only, and so has its URL-safe form.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks_exact(3) {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[(bits >> shift & 63) as usize]));
        }
    }
    text
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window[0] == needle[0] && window == needle)
}

/// Every file below a folder, but those that hold a key because that is what they are for.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else if !path.ends_with("admin-key") && !path.ends_with("master-key") {
            found.push((path.display().to_string(), read(&path)?));
        }
    }
    Ok(())
}

#[test]
fn the_search_finds_a_secret_in_every_form() {
    let secret = "canary0123456789abcdef0123456789ab";
    let found = |text: &str| forms(secret).iter().any(|form| contains(text.as_bytes(), form));
    assert!(found(&format!("key={secret}!")) && !found("canary"));
    assert!(found("63616e61727930313233343536373839616263646566303132333435363738396162"));
    for before in ["", "x", "xx", "Bearer "] {
        assert!(found(&base64(format!("{before}{secret}...").as_bytes())), "{before}");
    }
}

#[test]
fn planted_secrets_are_nowhere_to_be_found() -> Result<()> {
    plant_and_search(None)
}

#[test]
fn nor_are_they_in_redis() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // A dump that is compressed could hide one.
    let redis = RedisServer::start_with(folder.path(), &["--rdbcompression", "no"])?;
    plant_and_search(Some((&redis, folder.path())))
}

/// The store, and where it keeps its files; `None` is the embedded one.
fn plant_and_search(redis: Option<(&RedisServer, &Path)>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let provider = format!("http://{}/v1", listener.local_addr()?);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let exported: Arc<Mutex<Vec<u8>>> = Arc::default();
    let routes = Router::new().fallback(post(collect)).with_state(Arc::clone(&exported));
    let routes = routes.route("/v1/chat/completions", post(echo).with_state(Arc::clone(&seen)));
    let stopped = stop.clone().cancelled_owned();
    tasks
        .spawn_on(async move { axum::serve(listener, routes).with_graceful_shutdown(stopped).await }, runtime.handle());

    let mut stage =
        Stage { folder: tempfile::tempdir()?, programs: programs()?, planted: BTreeMap::new(), said: Vec::new() };
    let (mut variables, models) = prepare(&mut stage, &provider, redis.map(|(redis, _)| redis.url()))?;
    let collector = provider.trim_end_matches("/v1").to_owned();
    variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector));
    let field = stage.plant("the collector's field".to_owned());
    variables.push(("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), format!("x-tenant={field}")));
    let nexus = start(&stage, &variables)?;
    let keys = act(&mut stage, &nexus, &models)?;
    nexus.stop(PATIENCE)?;
    // Once more, on what was kept.
    let nexus = start(&stage, &variables)?;
    call_all(&mut stage, &nexus, &keys[0], &models)?;
    nexus.stop(PATIENCE)?;
    stage.run(&["serve", "--print-config", "--config", "nexus.yaml"], "", &variables)?;
    stage.run(&["serve", "--print-config", "--json", "--config", "nexus.yaml"], "", &variables)?;
    stop.cancel();

    ensure!(stage.planted.len() >= 50, "only {} were planted", stage.planted.len());
    let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).join("\n");
    for (place, secret) in stage.planted.iter().filter(|(place, _)| place.starts_with("model")) {
        ensure!(seen.contains(secret.as_str()), "the key of {place} never reached the provider");
    }
    let exported = std::mem::take(&mut *exported.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    for signal in [&b"chat m"[..], b"gen_ai.client.operation.duration", b"a secret was set"] {
        ensure!(contains(&exported, signal), "{} was not exported", String::from_utf8_lossy(signal));
    }
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    if let Some((redis, folder)) = redis {
        redis.cli(&["SAVE"])?;
        files(folder, &mut found)?;
        let dump = found.iter().find(|(path, _)| path.ends_with("dump.rdb")).context("Redis wrote no dump")?;
        ensure!(contains(&dump.1, b"echo-desk"), "the dump of Redis was not searched");
    }
    search(&stage, found, exported)
}

/// Plants what is there before the start, and writes the settings.
fn prepare(stage: &mut Stage, provider: &str, store: Option<String>) -> Result<(Variables, Vec<String>)> {
    let given = stage.path("given");
    create_dir_all(given.join("echo-desk"))?;
    let (mut variables, mut models, mut settings) = (Vec::new(), Vec::new(), "models:\n".to_owned());
    for number in 0..MODELS_EACH {
        let variable = format!("MODEL_KEY_{number}");
        variables.push((variable.clone(), stage.plant(format!("model v{number}"))));
        let file = given.join(format!("model-{number}.key"));
        write(&file, stage.plant(format!("model f{number}")) + "\n")?;
        let places = [
            (format!("v{number}"), format!("{{ env: {variable} }}")),
            (format!("f{number}"), format!("{{ file: '{}' }}", file.display())),
            (format!("s{number}"), format!("{{ secret: model-{number} }}")),
        ];
        for (alias, key) in places {
            writeln!(settings, "  {alias}: {{ endpoint: '{provider}', model: m, key: {key} }}")?;
            models.push(alias);
        }
        let variable = format!("NEXUS_SECRET_ECHO_DESK__TOKEN_{number}");
        variables.push((variable, stage.plant(format!("variable {number}"))));
        write(given.join(format!("echo-desk/hook-{number}")), stage.plant(format!("file {number}")))?;
    }
    if let Some(store) = store {
        writeln!(settings, "store: {store}")?;
    }
    writeln!(settings, "secrets_dir: '{}'\nlog: {{ level: debug }}", given.display())?;
    write(stage.path("nexus.yaml"), settings)?;
    write_app(&stage.path("apps"), &models)?;
    Ok((variables, models))
}

fn start(stage: &Stage, variables: &Variables) -> Result<Program> {
    let mut command = Command::new(stage.programs.join("nexus"));
    command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--config"]).arg(stage.path("nexus.yaml"));
    command.arg("--data-dir").arg(stage.path("data")).arg("--apps").arg(stage.path("apps"));
    command.envs(variables.iter().cloned());
    let number = if stage.path("log-1.txt").exists() { 2 } else { 1 };
    Program::start("nexus", &mut command, &stage.path(&format!("log-{number}.txt")), PATIENCE)
}

/// Plants what is kept by a running server, and goes every way that might show one of them.
fn act(stage: &mut Stage, nexus: &Program, models: &[String]) -> Result<Vec<String>> {
    let url = nexus.said("listening")?.to_owned();
    let admin = std::fs::read_to_string(nexus.said("admin_key_file")?)?.trim().to_owned();
    let as_admin = vec![("NEXUS_KEY".to_owned(), admin.clone()), ("NEXUS_URL".to_owned(), url.clone())];
    for number in 0..MODELS_EACH {
        let value = stage.plant(format!("model s{number}"));
        let name = format!("model-{number}");
        let set = stage.run(&["secret", "set", &name], &value, &as_admin)?;
        ensure!(set.status.success(), "{}", text(&set));
        let value = stage.plant(format!("store {number}"));
        let name = format!("token-{number}");
        let set = stage.run(&["secret", "set", &name, "--app", "echo-desk"], &format!("{value}\n"), &as_admin)?;
        ensure!(set.status.success(), "{}", text(&set));
    }
    let mut keys = vec![admin];
    for number in 0..2 {
        let arguments = ["key", "create", "--name", "k", "--scope", "apps:*:invoke", "--json"];
        let made = stage.run(&arguments, "", &as_admin)?;
        // This answer shows the key, this once.
        stage.said.pop();
        let made: Value = serde_json::from_slice(&made.stdout).context("a key as JSON")?;
        let key = made["key"].as_str().context("a key")?.to_owned();
        stage.planted.insert(format!("API key {number}"), key[21..85].to_owned());
        keys.push(key);
    }
    stage.planted.insert("admin key".to_owned(), keys[0][21..85].to_owned());
    call_all(stage, nexus, &keys[1], models)?;
    deliver(stage, &url, &keys[0])?;
    let shown: [&[&str]; 8] = [
        &["secret", "list"],
        &["secret", "list", "--app", "echo-desk", "--json"],
        &["key", "list"],
        &["audit", "list", "--limit", "200"],
        &["audit", "verify"],
        &["apps", "show", "echo-desk", "--json"],
        &["executions", "list", "--limit", "200", "--json"],
        &["check", "apps"],
    ];
    for arguments in shown {
        let output = stage.run(arguments, "", &as_admin)?;
        ensure!(output.status.success(), "{arguments:?}: {}", text(&output));
    }
    refused(stage, &url, &keys)?;
    Ok(keys)
}

/// Each model, answering and failing in every way.
fn call_all(stage: &mut Stage, nexus: &Program, key: &str, models: &[String]) -> Result<()> {
    let url = nexus.said("listening")?.to_owned();
    for model in models {
        for (input, status) in [("hello", 200), ("refuse me", 502), ("break down", 502), ("talk nonsense", 502)] {
            let path = format!("{url}/v1/apps/echo-desk/operations/{model}");
            let got = send(stage, "POST", &path, key, &json!({ "text": input }).to_string())?;
            ensure!(got == status, "{model} {input}: HTTP {got}");
        }
    }
    for path in ["/metrics", "/openapi.json", "/v1/executions?limit=200"] {
        send(stage, "GET", &format!("{url}{path}"), key, "")?;
    }
    Ok(())
}

/// A signed request that calls an operation, and one whose signature is wrong.
fn deliver(stage: &mut Stage, url: &str, key: &str) -> Result<()> {
    let secret = stage.planted.get("file 0").context("the secret of the webhook")?;
    let body = json!({ "text": "by a trigger" }).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(body.as_bytes());
    let signature = hex(&mac.finalize().into_bytes());
    let hook = format!("{url}/v1/hooks/echo-desk/pushes");
    for (signature, status) in [(signature.as_str(), 202), ("00", 401)] {
        let signature = format!("sha256={signature}");
        let fields = [("x-hub-signature-256", signature.as_str()), ("x-github-delivery", "1")];
        let got = send_with(stage, "POST", &hook, &fields, &body)?;
        ensure!(got == status, "a webhook: HTTP {got}");
    }
    let deadline = Instant::now() + PATIENCE;
    while !stage.said.last().is_some_and(|(_, text)| text.contains("\"pushes\"")) {
        ensure!(Instant::now() < deadline, "the webhook's trigger called nothing");
        sleep(Duration::from_millis(50));
        send(stage, "GET", &format!("{url}/v1/executions?limit=200"), key, "")?;
    }
    Ok(())
}

/// Secrets in places where they do not belong.
fn refused(stage: &mut Stage, url: &str, keys: &[String]) -> Result<()> {
    let value = stage.planted.get("store 0").cloned().unwrap_or_default();
    for (method, path, body, status) in [
        ("PUT", "/v1/secrets/x", json!(value).to_string(), 400),
        ("PUT", "/v1/secrets/x", json!({ "value": [value] }).to_string(), 400),
        ("PUT", "/v1/secrets/x", format!("{{\"value\": \"{value}"), 400),
        ("PUT", &*format!("/v1/secrets/{value}--"), json!({ "value": "x" }).to_string(), 422),
        ("GET", &*format!("/v1/keys?key={}", keys[1]), String::new(), 403),
        ("GET", "/v1/audit", String::new(), 403),
    ] {
        let key = if status == 403 { &keys[1] } else { &keys[0] };
        let got = send(stage, method, &format!("{url}{path}"), key, &body)?;
        ensure!(got == status, "{method} {path}: HTTP {got}");
    }
    let broken = format!("{}0", &keys[1][..keys[1].len() - 1]);
    send(stage, "GET", &format!("{url}/v1/apps"), &broken, "")?;
    Ok(())
}

/// Sends a request with a key, keeps the answer's fields and body, and gives its status.
fn send(stage: &mut Stage, method: &str, url: &str, key: &str, body: &str) -> Result<u16> {
    send_with(stage, method, url, &[("authorization", &format!("Bearer {key}"))], body)
}

/// The same with these fields.
fn send_with(stage: &mut Stage, method: &str, url: &str, fields: &[(&str, &str)], body: &str) -> Result<u16> {
    let client: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut answer = client.run(request.body(body.to_owned())?)?;
    let fields = format!("{:?}", answer.headers());
    let status = answer.status().as_u16();
    stage.said.push((format!("{method} {url}"), fields + &answer.body_mut().read_to_string()?));
    Ok(status)
}

/// Looks for what was planted in `found`, which holds what a store outside of the data directory wrote, in what was
/// exported, and in all else.
fn search(stage: &Stage, mut found: Vec<(String, Vec<u8>)>, exported: Vec<u8>) -> Result<()> {
    let outside = !found.is_empty();
    found.push(("what was exported".to_owned(), exported));
    files(&stage.path("data"), &mut found)?;
    let embedded = found.iter().any(|(path, _)| path.ends_with("runtime.redb"));
    ensure!(embedded || outside, "the runtime file was not searched");
    for number in 1..=2 {
        let log = read(stage.path(&format!("log-{number}.txt")))?;
        ensure!(log.len() > 1_000, "the log is nearly empty");
        found.push((format!("log {number}"), log));
    }
    let objects = Command::new("git")
        .args(["cat-file", "--batch-all-objects", "--batch"])
        .current_dir(stage.path("data/definitions.git"))
        .output()
        .context("git cannot be run")?;
    ensure!(objects.status.success() && contains(&objects.stdout, b"echo-desk"), "the Git objects were not read");
    found.push(("an object in Git".to_owned(), objects.stdout));
    found.extend(stage.said.iter().map(|(what, text)| (what.clone(), text.clone().into_bytes())));
    for (place, secret) in &stage.planted {
        for form in forms(secret) {
            let leak = found.iter().find(|(_, bytes)| contains(bytes, &form));
            let form = String::from_utf8_lossy(&form).into_owned();
            ensure!(leak.is_none(), "the secret of {place} is in {} as {form}", leak.map_or("", |(what, _)| what));
        }
    }
    Ok(())
}
