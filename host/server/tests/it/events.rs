//! Events over HTTP: published, followed, signed by others, and what they trigger.

use std::{fs, time::Duration};

use nexus_model::{Durability, Key, RuntimeStore, Write};
use nexus_state::{EmbeddedStore, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Host, problem};

const TRIGGERS: &str = "  triggers:
    - name: on-mail
      on: { event: mail.received, filter: { prefix: { subject: inbox/ } } }
      operation: shout
    - name: pushes
      on: { webhook: { verify: { scheme: github, secret: hook } } }
      operation: shout
      input: { value: { text: pushed } }
    - name: mornings
      on: { cron: \"0 8 * * *\", time_zone: Europe/Berlin, missed: run_once }
      operation: shout
      input: { value: { text: morning } }
";

/// A host whose application has triggers, and whose one secret is that of GitHub's documentation.
async fn triggered() -> Host {
    let host = Host::start_with(|settings| {
        let app = settings.apps.as_ref().unwrap().join("echo-desk/app.yaml");
        let text = fs::read_to_string(&app).unwrap();
        fs::write(&app, text + TRIGGERS).unwrap();
        let secret = settings.data_dir.with_extension("secret");
        fs::write(&secret, "It's a Secret to Everybody\n").unwrap();
        let secrets = json!({ "echo-desk": { "hook": { "file": secret } } });
        settings.secrets = serde_json::from_value(secrets).unwrap();
        settings.events.retry_ms = 1;
        settings.events.lease_ms = 500;
    });
    host.await
}

fn mail(id: &str, text: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/mail", "type": "mail.received", "subject": "inbox/7",
        "data": { "text": text },
    })
}

fn publish(host: &Host, media_type: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = host.ask(Method::POST, "/v1/events?app=echo-desk");
    request.header("content-type", media_type).body(body.to_string())
}

/// Waits until a trigger has so many executions that answered.
async fn caused(host: &Host, trigger: &str, count: usize) -> Vec<Value> {
    for _ in 0..500 {
        let list = host.json("/v1/executions?limit=200").await;
        let mut found = list["executions"].as_array().unwrap().clone();
        found.retain(|one| one["cause"]["trigger"] == trigger && one.get("error").is_none());
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("`{trigger}` was not triggered {count} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_each_mode_calls_the_operation() {
    let host = triggered().await;
    let structured = "application/cloudevents+json";
    let published = publish(&host, structured, &mail("1", &json!("one"))).send().await.unwrap();
    assert_eq!(published.status(), 202);
    let published: Value = published.json().await.unwrap();
    assert_eq!((&published["accepted"], published["places"].as_array().unwrap().len()), (&json!(1), 1));
    let batch = json!([mail("2", &json!("two")), mail("3", &json!("three")), mail("1", &json!("one"))]);
    assert_eq!(publish(&host, "application/cloudevents-batch+json", &batch).send().await.unwrap().status(), 202);
    let binary = publish(&host, "application/json", &json!({ "text": "four" }))
        .header("ce-specversion", "1.0")
        .header("ce-id", "4")
        .header("ce-source", "/mail")
        .header("ce-type", "mail.received")
        .header("ce-subject", "inbox/%C3%BC");
    assert_eq!(binary.send().await.unwrap().status(), 202);
    let mut outputs: Vec<String> =
        caused(&host, "on-mail", 4).await.iter().map(|one| one["output"]["shout"].to_string()).collect();
    outputs.sort();
    assert_eq!(outputs, ["\"FOUR\"", "\"ONE\"", "\"THREE\"", "\"TWO\""], "each event once");
    let triggers = host.json("/v1/apps/echo-desk/triggers").await;
    assert_eq!(triggers["triggers"][0]["on"], "event");
    assert!(triggers["triggers"][2]["next"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_or_not_allowed_is_refused() {
    let host = triggered().await;
    let structured = "application/cloudevents+json";
    let mut wrong = mail("1", &json!("x"));
    (wrong["id"], wrong["time"]) = (json!(""), json!("now"));
    let refused = problem(publish(&host, structured, &wrong).send().await.unwrap(), 422, "invalid_event").await;
    let paths: Vec<&str> =
        refused["violations"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/id", "/time"]);
    let mut reserved = mail("1", &json!("x"));
    reserved["type"] = json!("nexus.webhook.received");
    problem(publish(&host, structured, &reserved).send().await.unwrap(), 403, "reserved_type").await;
    problem(publish(&host, "application/json", &json!({})).send().await.unwrap(), 415, "unsupported_media_type").await;
    problem(publish(&host, structured, &json!([])).send().await.unwrap(), 422, "invalid_event").await;
    let broken = host.ask(Method::POST, "/v1/events?app=echo-desk").header("content-type", structured).body("{");
    problem(broken.send().await.unwrap(), 400, "invalid_json").await;
    let nobody = host.ask(Method::POST, "/v1/events?app=nobody").header("content-type", structured);
    problem(nobody.body(mail("1", &json!("x")).to_string()).send().await.unwrap(), 404, "unknown_app").await;
    let asked = |key: String| {
        let request = host.client.post(format!("{}/v1/events?app=echo-desk", host.url())).bearer_auth(key);
        request.header("content-type", structured).body(mail("1", &json!("x")).to_string()).send()
    };
    problem(asked(host.key(&["apps:echo-desk:read"]).await).await.unwrap(), 403, "forbidden").await;
    for scope in ["apps:echo-desk:invoke", "apps:echo-desk:write"] {
        assert_eq!(asked(host.key(&[scope]).await).await.unwrap().status(), 202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_put_aside_and_seen() {
    let host = triggered().await;
    publish(&host, "application/cloudevents+json", &mail("1", &json!(7))).send().await.unwrap();
    let mut letters = Vec::new();
    for _ in 0..500 {
        letters = host.json("/v1/apps/echo-desk/dead-letters").await["dead_letters"].as_array().unwrap().clone();
        if !letters.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((&letters[0]["deliveries"], &letters[0]["code"]), (&json!(5), &json!("invalid_input")), "{letters:?}");
    let one = format!("/v1/apps/echo-desk/dead-letters/{}", letters[0]["id"].as_str().unwrap());
    assert_eq!(host.json(&one).await, letters[0]);
    let asked = |method: Method, path: String| host.ask(method, &path).send();
    assert_eq!(asked(Method::POST, format!("{one}/redrive")).await.unwrap().status(), 204);
    problem(asked(Method::DELETE, one).await.unwrap(), 404, "unknown_dead_letter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_calls_the_operation_and_another_does_not() {
    // The values for testing of GitHub's documentation.
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let host = triggered().await;
    let send = |trigger: &str, signature: &str, body: &'static str| {
        let request = host.client.post(format!("{}/v1/hooks/echo-desk/{trigger}", host.url()));
        request.header("x-hub-signature-256", signature).header("x-github-delivery", "d-1").body(body).send()
    };
    for _ in 0..2 {
        let taken = send("pushes", SIGNATURE, "Hello, World!").await.unwrap();
        assert_eq!(taken.status(), 202);
        assert_eq!(taken.json::<Value>().await.unwrap()["id"], "d-1");
    }
    problem(send("pushes", SIGNATURE, "Hello, World?").await.unwrap(), 401, "bad_signature").await;
    problem(send("pushes", "sha256=00", "Hello, World!").await.unwrap(), 401, "bad_signature").await;
    problem(send("on-mail", SIGNATURE, "Hello, World!").await.unwrap(), 404, "unknown_webhook").await;
    let found = caused(&host, "pushes", 1).await;
    assert_eq!((found.len(), &found[0]["output"]["shout"]), (1, &json!("PUSHED")));
    assert_eq!(found[0]["cause"]["event_id"], "d-1");
}

/// Stops the host once it has looked at the clock; its store, and the mark of what it saw.
async fn first_mark(host: &mut Host) -> (EmbeddedStore, nexus_model::Entry) {
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(host.stop().await);
        let file = host.settings.data_dir.join("runtime.redb");
        let store = EmbeddedStore::open(&file, std::sync::Arc::new(SystemClock)).unwrap();
        let prefix = Key::of_app(&"echo-desk".parse().unwrap(), "cron", "");
        if let Some(mark) = store.list(&prefix, None, 1).await.unwrap().pop() {
            return (store, mark);
        }
        store.close().await.unwrap();
        host.resume().await;
    }
    panic!("the host does not look at the clock");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_was_missed_is_made_up_for_once() {
    let mut host = triggered().await;
    // As if the server had last looked two days ago.
    let (store, one) = first_mark(&mut host).await;
    let seconds: i64 = std::str::from_utf8(&one.value).unwrap().parse().unwrap();
    let value = (seconds - 2 * 86_400).to_string().into_bytes();
    let key = Key::of_app(&"echo-desk".parse().unwrap(), "cron", one.key.clone());
    store.write(vec![Write::Set { key, value, ttl: None }], Durability::Synced).await.unwrap();
    store.close().await.unwrap();
    for _ in 0..2 {
        host.resume().await;
        let found = caused(&host, "mornings", 1).await;
        assert_eq!((found.len(), &found[0]["output"]["shout"]), (1, &json!("MORNING")), "once");
        assert!(host.stop().await);
    }
}

/// Reads server-sent events of a response until there are so many; their names, ids and data.
async fn read(response: &mut reqwest::Response, count: usize) -> Vec<(String, String, Value)> {
    let (mut text, mut found) = (String::new(), Vec::new());
    while found.len() < count {
        let chunk = tokio::time::timeout(Duration::from_secs(20), response.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                line.unwrap_or_default().to_owned()
            };
            if !field("event").is_empty() {
                found.push((field("event"), field("id"), serde_json::from_str(&field("data")).unwrap()));
            }
            text = rest.to_owned();
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_and_gone_on_with() {
    let mut host = triggered().await;
    let path = "/v1/events?app=echo-desk&type=mail.";
    let mut following = host.get(path).send().await.unwrap();
    assert!(following.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let structured = "application/cloudevents+json";
    for id in ["1", "2"] {
        publish(&host, structured, &mail(id, &json!(id))).send().await.unwrap();
    }
    let seen = read(&mut following, 2).await;
    let ids = |seen: &[(String, String, Value)]| -> Vec<String> {
        seen.iter().map(|(_, _, data)| data["event"]["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&seen), ["1", "2"]);
    assert_eq!((seen[0].0.as_str(), &seen[0].2["app"]), ("event", &json!("echo-desk")));

    publish(&host, structured, &mail("3", &json!("3"))).send().await.unwrap();
    let mut again = host.get(path).header("last-event-id", &seen[0].1).send().await.unwrap();
    assert_eq!(ids(&read(&mut again, 2).await), ["2", "3"]);
    let kinds = host.get(&format!("/v1/events?type=nexus.definition.&after={}", "echo-desk:0")).send().await;
    let told = read(&mut kinds.unwrap(), 2).await;
    assert_eq!(told[0].0, "gap", "nobody knows what was before the first event that is kept");
    assert_eq!(told[1].2["event"]["type"], "nexus.definition.loaded");
    problem(host.get("/v1/events?after=x").send().await.unwrap(), 400, "invalid_parameter").await;
    problem(host.get("/v1/events?app=nobody").send().await.unwrap(), 404, "unknown_app").await;
    assert!(host.stop().await, "readers do not hold up a server that stops");
    assert!(again.chunk().await.unwrap_or(None).is_none());
}

/// What `nexus events …` says, as JSON, and its exit code.
fn nexus(url: &str, key: &str, arguments: &[&str]) -> (Value, Option<i32>) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nexus"));
    command.env_clear().env("NEXUS_URL", url).env("NEXUS_KEY", key);
    let output = command.args(["--json", "events"]).args(arguments).output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_publishes_follows_and_shows_what_was_put_aside() {
    let host = triggered().await;
    let (url, key) = (host.url(), host.admin.clone());
    tokio::task::spawn_blocking(move || command_line(&url, &key)).await.unwrap();
    drop(host);
}

fn command_line(url: &str, key: &str) {
    let nexus = |arguments: &[&str]| nexus(url, key, arguments);
    let data = r#"{"text": 7}"#;
    let event =
        ["publish", "echo-desk", "--type", "mail.received", "--subject", "inbox/1", "--id", "cli-1", "--data", data];
    let (published, code) = nexus(&event);
    assert_eq!((&published["id"], code), (&json!("cli-1"), Some(0)));
    let (triggers, _) = nexus(&["triggers", "echo-desk"]);
    assert_eq!(triggers["triggers"][0]["name"], "on-mail");

    let letters = || nexus(&["dead-letters", "list", "echo-desk"]).0["dead_letters"].as_array().unwrap().clone();
    let first = (0..500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        letters().first().cloned()
    });
    let first = first.unwrap();
    assert_eq!(first["event"]["id"], "cli-1");
    let id = first["id"].as_str().unwrap();
    assert_eq!(nexus(&["dead-letters", "show", "echo-desk", id]), (first.clone(), Some(0)));
    assert_eq!(nexus(&["dead-letters", "redrive", "echo-desk", id]).1, Some(0));
    assert_eq!(nexus(&["dead-letters", "discard", "echo-desk", id]).1, Some(1), "it is gone");

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nexus"));
    command.env_clear().env("NEXUS_URL", url).env("NEXUS_KEY", key).stdout(std::process::Stdio::piped());
    let follow = ["--json", "events", "follow", "--app", "echo-desk", "--type", "mail.", "--after", "echo-desk:0"];
    let mut child = command.args(follow).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let told: Vec<Value> = lines.take(2).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((&told[0]["kind"], &told[1]["data"]["event"]["id"]), (&json!("gap"), &json!("cli-1")));
    assert!(told[1]["id"].as_str().unwrap().starts_with("echo-desk:"));
}
