//! Definitions written over HTTP: checked, committed once, served at once; history and the way back; out of service.

use nexus_model::{AppName, Author, DefinitionStore, Expected};
use nexus_state::GitDefinitions;
use reqwest::{Method, Response, header};
use serde_json::{Value, json};

use crate::support::{Host, SHOUT, problem};

const APP: &str = "/v1/apps/echo-desk";

async fn ok(response: Response, status: u16) -> Value {
    let (got, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn tag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

/// A copy of `echo-desk` under another name.
async fn copy(host: &Host, name: &str) -> Value {
    let mut files = host.json(&format!("{APP}/files")).await["files"].clone();
    files["app.yaml"] = files["app.yaml"].as_str().unwrap().replace("echo-desk", name).into();
    files
}

async fn put(host: &Host, app: &str, files: &Value, condition: (&'static str, &str)) -> Response {
    let request = host.ask(Method::PUT, &format!("/v1/apps/{app}")).header(condition.0, condition.1);
    request.json(&json!({ "files": files })).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_added_changed_and_removed() {
    let host = Host::start().await;
    let mut files = copy(&host, "loud-desk").await;
    let body = json!({ "name": "loud-desk", "files": files, "message": "Shout elsewhere" });
    let added = host.post("/v1/apps", &body).send().await.unwrap();
    assert_eq!(added.headers()["location"], "/v1/apps/loud-desk");
    let first = tag(&added);
    assert_eq!(first, format!("\"{}\"", ok(added, 201).await["revision"].as_str().unwrap()));
    let call = || host.post("/v1/apps/loud-desk/operations/shout", &json!({ "text": "x" })).send();
    assert_eq!(call().await.unwrap().status(), 200, "it serves when the answer comes");
    let again = problem(host.post("/v1/apps", &body).send().await.unwrap(), 412, "precondition_failed").await;
    assert_eq!(format!("\"{}\"", again["revision"].as_str().unwrap()), first);

    files["notes.md"] = "Said softly.".into();
    let bare = host.ask(Method::PUT, "/v1/apps/loud-desk").json(&json!({ "files": files })).send().await.unwrap();
    let bare = problem(bare, 428, "precondition_required").await;
    assert_eq!(format!("\"{}\"", bare["revision"].as_str().unwrap()), first);
    let changed = put(&host, "loud-desk", &files, ("if-match", &first)).await;
    let second = tag(&changed);
    assert_eq!(ok(changed, 200).await["changed"], true);
    let stale = problem(put(&host, "loud-desk", &files, ("if-match", &first)).await, 412, "precondition_failed").await;
    assert_eq!(format!("\"{}\"", stale["revision"].as_str().unwrap()), second);
    let same = put(&host, "loud-desk", &files, ("if-match", "*")).await;
    assert_eq!(ok(same, 200).await["changed"], false, "no commit when nothing changes");

    let remove = |tag: &str| host.ask(Method::DELETE, "/v1/apps/loud-desk").header(header::IF_MATCH, tag).send();
    problem(host.ask(Method::DELETE, "/v1/apps/loud-desk").send().await.unwrap(), 428, "precondition_required").await;
    problem(remove(&first).await.unwrap(), 412, "precondition_failed").await;
    ok(remove(&second).await.unwrap(), 200).await;
    problem(call().await.unwrap(), 404, "unknown_app").await;
    problem(remove("*").await.unwrap(), 404, "unknown_app").await;

    let history = host.json("/v1/apps/loud-desk/history").await;
    let said: Vec<_> = history["changes"].as_array().unwrap().iter().map(|change| &change["message"]).collect();
    assert_eq!(said, ["Remove loud-desk", "Change loud-desk", "Shout elsewhere"], "one commit each");
    assert_eq!(history["changes"][0]["author"]["name"], "first admin");
    assert!(history["changes"][0]["author"]["email"].as_str().unwrap().ends_with("@nexus.invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_write_changes_nothing_and_is_told_every_fault() {
    let host = Host::start().await;
    let before = host.json(&format!("{APP}/files")).await;
    let mut files = before["files"].clone();
    let manifest = files["app.yaml"].as_str().unwrap();
    files["app.yaml"] =
        manifest.replace("descripton", "").replace("prompt: prompts/shout", "promt: prompts/shout").into();
    let prompt = files["prompts/shout.prompt.yml"].as_str().unwrap().replace("model: loud", "model: lowd");
    files["prompts/shout.prompt.yml"] = prompt.clone().into();
    let refused = problem(put(&host, "echo-desk", &files, ("if-match", "*")).await, 422, "definition_faults").await;
    let fault = &refused["faults"][0];
    assert_eq!((&fault["file"], &fault["nearest"]), (&json!("app.yaml"), &json!("prompt")), "{refused}");
    assert!(fault["line"].as_u64().unwrap() > 1 && fault["column"].as_u64().unwrap() > 1, "{refused}");

    let file = host.ask(Method::PUT, &format!("{APP}/files/prompts/shout.prompt.yml")).header("if-match", "*");
    let refused = problem(file.body(prompt).send().await.unwrap(), 422, "definition_faults").await;
    assert_eq!((&refused["faults"][0]["nearest"], &refused["faults"][0]["line"]), (&json!("loud"), &json!(3)));
    let manifest = host.ask(Method::DELETE, &format!("{APP}/files/app.yaml")).header("if-match", "*");
    problem(manifest.send().await.unwrap(), 422, "definition_faults").await;

    assert_eq!(host.json(&format!("{APP}/files")).await, before);
    assert_eq!(host.json(APP).await["status"], "active");
    assert_eq!(host.shout("still").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_changed_added_and_removed() {
    let host = Host::start().await;
    let path = format!("{APP}/files/prompts/shout.prompt.yml");
    let read = host.get(&path).send().await.unwrap();
    let first = tag(&read);
    assert_eq!(read.headers()["content-type"], "application/yaml");
    let text = read.text().await.unwrap();
    let known = host.get(&path).header(header::IF_NONE_MATCH, &first).send().await.unwrap();
    assert_eq!((known.status().as_u16(), tag(&known)), (304, first.clone()));

    let louder = text.replace("Say it louder.", "Say it much louder.");
    let bare = host.ask(Method::PUT, &path).body(louder.clone()).send().await.unwrap();
    problem(bare, 428, "precondition_required").await;
    let put = host.ask(Method::PUT, &format!("{path}?message=Louder")).header("if-match", &first).body(louder.clone());
    let put = put.send().await.unwrap();
    let second = tag(&put);
    ok(put, 200).await;
    assert_eq!(host.get(&path).send().await.unwrap().text().await.unwrap(), louder);
    let earlier = host.get(&format!("{path}?revision={}", first.trim_matches('"'))).send().await.unwrap();
    assert_eq!(earlier.text().await.unwrap(), text);
    let stale = host.ask(Method::PUT, &path).header("if-match", &first).body("x").send().await.unwrap();
    assert_eq!(problem(stale, 412, "precondition_failed").await["revision"], json!(second.trim_matches('"')));

    let notes = format!("{APP}/files/docs/notes.bin");
    let add = || host.ask(Method::PUT, &notes).header("if-none-match", "*").body(vec![0, 255, 10]);
    ok(add().send().await.unwrap(), 201).await;
    problem(add().send().await.unwrap(), 412, "precondition_failed").await;
    assert_eq!(host.get(&notes).send().await.unwrap().bytes().await.unwrap().as_ref(), [0, 255, 10]);
    let remove = || host.ask(Method::DELETE, &notes).header("if-match", "*").send();
    ok(remove().await.unwrap(), 200).await;
    problem(remove().await.unwrap(), 404, "unknown_file").await;
    let near = problem(host.get(&format!("{APP}/files/ap.yaml")).send().await.unwrap(), 404, "unknown_file").await;
    assert!(near["hint"].as_str().unwrap().contains("app.yaml"));
    let history = host.json(&format!("{APP}/history")).await;
    let said: Vec<_> = history["changes"].as_array().unwrap().iter().map(|change| &change["message"]).collect();
    let expected = ["Remove echo-desk/docs/notes.bin", "Add echo-desk/docs/notes.bin", "Louder", "Import echo-desk"];
    assert_eq!(said, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_can_be_compared_and_restored() {
    let host = Host::start().await;
    let first = host.json(APP).await["revision"].clone();
    let path = format!("{APP}/files/prompts/shout.prompt.yml");
    let text = host.get(&path).send().await.unwrap().text().await.unwrap();
    let softer = text.replace("Say it louder.", "Say it softly.");
    let put = host.ask(Method::PUT, &path).header("if-match", "*").body(softer).send().await.unwrap();
    let second = ok(put, 200).await["revision"].clone();
    let page = host.json(&format!("{APP}/history?limit=1")).await;
    let next = host.json(&format!("{APP}/history?limit=1&before={}", page["next"].as_str().unwrap())).await;
    assert_eq!((&page["changes"][0]["revision"], &next["changes"][0]["revision"]), (&second, &first));

    let diff = format!("{APP}/diff?from={}", first.as_str().unwrap());
    let told = host.json(&diff).await;
    let file = &told["files"][0];
    assert_eq!((&told["to"], &file["change"], &file["removed"]), (&second, &json!("changed"), &json!(1)), "{told}");
    let unified = host.get(&diff).header("accept", "text/x-diff").send().await.unwrap().text().await.unwrap();
    assert!(unified.starts_with("--- a/prompts/shout.prompt.yml\n+++ b/prompts/shout.prompt.yml\n"), "{unified}");
    assert!(unified.contains("\n+  - { role: system, content: Say it softly. }\n"), "{unified}");

    let restore = |revision: &Value| host.post(&format!("{APP}/restore"), &json!({ "revision": revision }));
    problem(restore(&first).send().await.unwrap(), 428, "precondition_required").await;
    let nowhere = restore(&json!("0".repeat(40))).header("if-match", "*").send().await.unwrap();
    problem(nowhere, 404, "unknown_revision").await;
    let back = restore(&first).header("if-match", format!("\"{}\"", second.as_str().unwrap())).send().await.unwrap();
    assert_eq!(ok(back, 200).await["revision"], first);
    assert_eq!(host.get(&path).send().await.unwrap().text().await.unwrap(), text);
    assert_eq!(host.json(&format!("{APP}/history")).await["changes"].as_array().unwrap().len(), 3, "a new commit");

    ok(host.ask(Method::DELETE, APP).header("if-match", "*").send().await.unwrap(), 200).await;
    ok(restore(&second).send().await.unwrap(), 201).await;
    assert_eq!(host.json(APP).await["revision"], second, "also what was removed comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_application_says_so_also_after_a_restart() {
    let mut host = Host::start().await;
    let off = host.post(&format!("{APP}/deactivate"), &json!({ "reason": "holidays" })).send().await.unwrap();
    assert_eq!(ok(off, 200).await["status"], "inactive");
    let refused = problem(host.shout("x").send().await.unwrap(), 409, "app_inactive").await;
    assert!(refused["detail"].as_str().unwrap().contains("holidays"), "{refused}");
    host.stop().await;
    host.resume().await;
    let shown = host.json("/v1/apps").await["apps"][0].clone();
    assert_eq!(shown["status"], "inactive");
    assert!(shown["reason"].as_str().unwrap().contains("by first admin at 20"), "{shown}");
    problem(host.shout("x").send().await.unwrap(), 409, "app_inactive").await;
    let on = host.ask(Method::POST, &format!("{APP}/activate")).send().await.unwrap();
    assert_eq!(ok(on, 200).await["status"], "active");
    assert_eq!(host.shout("x").send().await.unwrap().status(), 200);
    let nobody = host.ask(Method::POST, "/v1/apps/nobody/activate").send().await.unwrap();
    problem(nobody, 404, "unknown_app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_faulty_push_the_version_before_serves_also_after_a_restart() {
    let mut host = Host::start().await;
    let before = host.json(APP).await["revision"].clone();
    host.stop().await;
    let store = GitDefinitions::open(&host.settings.data_dir.join("definitions.git")).unwrap();
    let app: AppName = "echo-desk".parse().unwrap();
    let mut files = store.read(&app).await.unwrap().unwrap().files;
    files.remove("schemas/text.json");
    let author = Author { name: "Ada".into(), email: "ada@nexus.invalid".into() };
    let faulty = store.replace(&app, files, Expected::Any, &author, "Slip").await.unwrap();
    host.settings.apps = None;
    host.resume().await;
    let shown = host.json(APP).await;
    assert_eq!((&shown["status"], &shown["revision"]), (&json!("degraded"), &before), "{shown}");
    assert_eq!(shown["newest"], json!(faulty));
    assert!(shown["reason"].as_str().unwrap().contains("schemas/text.json"), "{shown}");
    assert_eq!(host.shout("still").send().await.unwrap().status(), 200);
    let restore = host.post(&format!("{APP}/restore"), &json!({ "revision": before }));
    ok(restore.header("if-match", format!("\"{faulty}\"")).send().await.unwrap(), 200).await;
    assert_eq!(host.json(APP).await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_writes_are_refused() {
    let host = Host::start_with(|settings| settings.limits.definition_bytes = 64 << 10).await;
    let good = copy(&host, "loud-desk").await;
    let post = |files: Value| host.post("/v1/apps", &json!({ "name": "loud-desk", "files": files })).send();
    for path in ["../x", "/etc/passwd", "a//b", ".git/hooks/x", "a\nb", "c:\\x"] {
        let mut files = good.clone();
        files[path] = "x".into();
        problem(post(files).await.unwrap(), 422, "file_refused").await;
    }
    let mut files = good.clone();
    files["x.bin"] = json!({ "base64": "no!" });
    problem(post(files).await.unwrap(), 422, "file_refused").await;
    let many = (0..2_001).fold(good.clone(), |mut files, number| {
        files[format!("f{number}")] = "".into();
        files
    });
    problem(post(many).await.unwrap(), 422, "file_refused").await;
    problem(post(json!({})).await.unwrap(), 400, "invalid_json").await;
    problem(post(json!({ "x": { "base64": "", "more": 1 } })).await.unwrap(), 400, "invalid_json").await;
    problem(post(json!({ "big": "x".repeat(70_000) })).await.unwrap(), 413, "body_too_large").await;
    let named = host.post("/v1/apps", &json!({ "name": "Loud Desk", "files": good })).send().await.unwrap();
    problem(named, 422, "invalid_name").await;
    let both = put(&host, "echo-desk", &good, ("if-match", "abc")).await;
    problem(both, 400, "invalid_parameter").await;
    assert!(host.json("/v1/apps").await["apps"].as_array().unwrap().len() == 1);

    for (scope, status) in [("apps:echo-desk:read", 403), ("apps:other:write", 403), ("apps:echo-desk:write", 428)] {
        let key = host.key(&[scope]).await;
        let request = host.client.put(format!("{}{APP}", host.url())).bearer_auth(key);
        let refused = request.json(&json!({ "files": good })).send().await.unwrap();
        assert_eq!(refused.status(), status, "{scope}");
    }
    assert_eq!(host.client.post(format!("{}{SHOUT}", host.url())).json(&json!({})).send().await.unwrap().status(), 401);
}
