//! An application for MCP clients: over HTTP in the protocol's two revisions, and on standard input and output.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    plugins::{component, put},
    support::{Host, in_time, problem},
};

const PATH: &str = "/mcp/echo-desk";

/// A session of one client.
struct Session<'a> {
    host: &'a Host,
    key: String,
    id: String,
    about: Value,
}

fn ask(host: &Host, method: Method, key: &str) -> reqwest::RequestBuilder {
    let request = host.client.request(method, format!("{}{PATH}", host.url())).bearer_auth(key);
    request.header("accept", "application/json, text/event-stream")
}

/// The one message of an answer, be it JSON or a stream of events.
async fn message(response: Response) -> Value {
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
    let mut events =
        text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).filter(|data| !data.is_empty());
    let last = events.next_back().unwrap_or(&text);
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
    }})
}

impl<'a> Session<'a> {
    async fn begin(host: &'a Host, key: &str) -> Self {
        let response = ask(host, Method::POST, key).json(&initialize()).send().await.unwrap();
        let id = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let about = message(response).await["result"].clone();
        let session = Self { host, key: key.to_owned(), id, about };
        let begun = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(session.request(Method::POST).json(&begun).send().await.unwrap().status(), 202);
        session
    }

    fn request(&self, method: Method) -> reqwest::RequestBuilder {
        ask(self.host, method, &self.key)
            .header("mcp-session-id", &self.id)
            .header("mcp-protocol-version", "2025-11-25")
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        message(self.request(Method::POST).json(&body).send().await.unwrap()).await
    }

    async fn result(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }
}

/// What each request of the newest revision says of its sender.
fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn names<'a>(list: &'a Value, of: &str, name: &str) -> Vec<&'a str> {
    list[of].as_array().unwrap().iter().map(|item| item[name].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_finds_and_uses_what_an_application_has() {
    let host = Host::start().await;
    let added = put(&host, "/v1/apps/echo-desk/plugins/sums", component(2, ""), None).await;
    assert_eq!(added.status(), 201);
    let noted = host.ask(Method::PUT, "/v1/apps/echo-desk/memory/knowledge/hours").json(&json!({ "text": "9 to 5" }));
    assert!(noted.send().await.unwrap().status().is_success());
    let session = Session::begin(&host, &host.admin).await;
    assert_eq!(session.about["serverInfo"]["name"], "echo-desk", "{}", session.about);
    assert_eq!(session.about["instructions"], "Shouts what it is told.");

    let tools = session.result("tools/list", json!({})).await;
    assert_eq!(names(&tools, "tools", "name"), ["shout", "sums.spins", "sums.stops", "sums.times"]);
    assert_eq!(tools["tools"][0]["inputSchema"]["required"], json!(["text"]), "{tools}");
    let shouted = session.result("tools/call", json!({ "name": "shout", "arguments": { "text": "hi" } })).await;
    assert_eq!((&shouted["structuredContent"], &shouted["isError"]), (&json!({ "shout": "HI" }), &json!(false)));
    let product = session.result("tools/call", json!({ "name": "sums.times", "arguments": { "number": 21 } })).await;
    assert_eq!(product["content"][0]["text"], "42", "{product}");

    for (name, arguments, said) in [
        ("shout", json!({ "text": 1 }), "/text"),
        ("sums.times", json!({ "number": -1 }), "expected u32"),
        ("sums.stops", json!({}), "component_fault"),
    ] {
        let refused = session.result("tools/call", json!({ "name": name, "arguments": arguments })).await;
        assert_eq!(refused["isError"], true, "{name}: {refused}");
        assert!(refused["content"][0]["text"].as_str().unwrap().contains(said), "{name}: {refused}");
    }
    let unknown = session.call("tools/call", json!({ "name": "sums.time", "arguments": {} })).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert!(unknown["error"]["message"].as_str().unwrap().contains("did you mean `sums.times`?"), "{unknown}");

    let prompts = session.result("prompts/list", json!({})).await;
    assert_eq!(names(&prompts, "prompts", "name"), ["shout"]);
    assert_eq!(prompts["prompts"][0]["arguments"][0]["name"], "text");
    let prompt = session.result("prompts/get", json!({ "name": "shout", "arguments": { "text": "hello" } })).await;
    assert_eq!(prompt["messages"][1]["content"]["text"], "hello", "{prompt}");
    assert_eq!(session.call("prompts/get", json!({ "name": "shout" })).await["error"]["code"], -32602);

    let resources = session.result("resources/list", json!({})).await;
    let [input, output, hours] = names(&resources, "resources", "uri")[..] else { panic!("{resources}") };
    assert!(output.ends_with("/operations/shout/output.json"), "{output}");
    let schema = session.result("resources/read", json!({ "uri": input })).await;
    assert!(schema["contents"][0]["text"].as_str().unwrap().contains("\"text\""), "{schema}");
    let document = session.result("resources/read", json!({ "uri": hours })).await;
    assert!(document["contents"][0]["text"].as_str().unwrap().contains("9 to 5"), "{document}");
    for foreign in ["nexus://apps/other/memory/brief", "nexus://apps/echo-desk/memory/../x", "file:///etc/passwd"] {
        let unknown = session.call("resources/read", json!({ "uri": foreign })).await;
        assert!(unknown["error"]["code"].is_i64(), "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_sees_what_it_may_and_a_session_is_one_keys() {
    let host = Host::start().await;
    let caller = host.key(&["apps:echo-desk:invoke"]).await;
    let reader = host.key(&["apps:echo-desk:read"]).await;
    let session = Session::begin(&host, &caller).await;
    assert_eq!(names(&session.result("tools/list", json!({})).await, "tools", "name"), ["shout"]);
    assert_eq!(session.result("prompts/list", json!({})).await["prompts"], json!([]));
    assert_eq!(session.result("resources/list", json!({})).await["resources"], json!([]));
    assert!(session.call("prompts/get", json!({ "name": "shout" })).await["error"].is_object());

    let reading = Session::begin(&host, &reader).await;
    assert_eq!(reading.result("tools/list", json!({})).await["tools"], json!([]));
    assert!(reading.call("tools/call", json!({ "name": "shout", "arguments": {} })).await["error"].is_object());
    assert_eq!(names(&reading.result("prompts/list", json!({})).await, "prompts", "name"), ["shout"]);

    let stolen = Session { host: &host, key: reader, id: session.id.clone(), about: Value::Null };
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    problem(stolen.request(Method::POST).json(&list).send().await.unwrap(), 404, "unknown_session").await;
    problem(stolen.request(Method::GET).send().await.unwrap(), 404, "unknown_session").await;
    problem(stolen.request(Method::DELETE).send().await.unwrap(), 404, "unknown_session").await;
    assert_eq!(names(&session.result("tools/list", json!({})).await, "tools", "name"), ["shout"]);

    let nobody = host.key(&["apps:other:invoke"]).await;
    problem(ask(&host, Method::POST, &nobody).json(&initialize()).send().await.unwrap(), 403, "forbidden").await;
    problem(ask(&host, Method::POST, "nxs_x").json(&initialize()).send().await.unwrap(), 401, "unauthorized").await;
    let page = ask(&host, Method::POST, &caller).header("origin", "https://evil.example").json(&initialize());
    problem(page.send().await.unwrap(), 403, "foreign_origin").await;
    let ended = session.request(Method::DELETE).send().await.unwrap();
    assert!(ended.status().is_success());
    problem(session.request(Method::POST).json(&list).send().await.unwrap(), 404, "unknown_session").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_when_the_tools_change() {
    let host = Host::start().await;
    let session = Session::begin(&host, &host.admin).await;
    let stream = session.request(Method::GET).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut pieces = stream.bytes_stream();
    let added = put(&host, "/v1/apps/echo-desk/plugins/sums", component(2, ""), None).await;
    assert_eq!(added.status(), 201);
    let told = async {
        let mut told = String::new();
        while !["tools", "prompts", "resources"].iter().all(|list| told.contains(&format!("{list}/list_changed"))) {
            told += &String::from_utf8_lossy(&pieces.next().await.unwrap().unwrap());
        }
    };
    in_time(told).await;
    assert_eq!(session.result("tools/list", json!({})).await["tools"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_revision_needs_no_session() {
    let host = Host::start().await;
    let request = |method: &str, mut params: Value, name: &str| {
        params["_meta"] = meta();
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let request = ask(&host, Method::POST, &host.admin).header("mcp-protocol-version", "2026-07-28");
        let request = request.header("mcp-method", method).json(&body);
        if name.is_empty() { request } else { request.header("mcp-name", name) }
    };
    let response = request("server/discover", json!({}), "").send().await.unwrap();
    assert!(!response.headers().contains_key("mcp-session-id"));
    let about = message(response).await;
    assert!(about["result"]["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")), "{about}");
    let tools = message(request("tools/list", json!({}), "").send().await.unwrap()).await;
    assert_eq!(names(&tools["result"], "tools", "name"), ["shout"], "{tools}");
    let call = json!({ "name": "shout", "arguments": { "text": "hi" } });
    let shouted = message(request("tools/call", call, "shout").send().await.unwrap()).await;
    assert_eq!(shouted["result"]["structuredContent"], json!({ "shout": "HI" }), "{shouted}");
    assert_eq!(shouted["result"]["resultType"], "complete", "{shouted}");

    let listen = json!({ "notifications": { "toolsListChanged": true } });
    let stream = request("subscriptions/listen", listen, "").send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut pieces = stream.bytes_stream();
    let mut told = String::new();
    let mut hears = async |what: &str| {
        while !told.contains(what) {
            told += &String::from_utf8_lossy(&pieces.next().await.unwrap().unwrap());
        }
    };
    in_time(hears("notifications/subscriptions/acknowledged")).await;
    let added = put(&host, "/v1/apps/echo-desk/plugins/sums", component(2, ""), None).await;
    assert_eq!(added.status(), 201);
    in_time(hears("notifications/tools/list_changed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_speaks_mcp_on_its_standard_streams() {
    let host = Host::start().await;
    // A key that may only call is enough.
    let (url, key) = (host.url(), host.key(&["apps:echo-desk:invoke"]).await);
    let talk = move || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_nexus"))
            .args(["mcp", "serve", "echo-desk", "--url", &url, "--key", &key])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, stdout) = (program.stdin.take().unwrap(), BufReader::new(program.stdout.take().unwrap()));
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "shout", "arguments": { "text": "hi" },
        }});
        for line in [initialize(), json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }), call] {
            writeln!(stdin, "{line}").unwrap();
        }
        let answers: Vec<Value> =
            stdout.lines().take(2).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        drop(stdin);
        (answers, program.wait().unwrap())
    };
    let (answers, ended) = in_time(tokio::task::spawn_blocking(talk)).await.unwrap();
    assert_eq!(answers[0]["result"]["serverInfo"]["name"], "echo-desk", "{answers:?}");
    assert_eq!(answers[1]["result"]["structuredContent"], json!({ "shout": "HI" }), "{answers:?}");
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_looked_after_with_its_own_tools() {
    let host = Host::start().await;
    let request = |key: &str, tool: &str, arguments: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": tool, "arguments": arguments, "_meta": meta(),
        }});
        let request = host.client.post(format!("{}/mcp", host.url())).bearer_auth(key);
        let request = request.header("accept", "application/json, text/event-stream");
        request
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .json(&body)
    };
    let call = async |tool: &str, arguments: Value| {
        message(request(&host.admin, tool, arguments).send().await.unwrap()).await["result"].clone()
    };
    let done = async |tool: &str, arguments: Value| {
        let result = call(tool, arguments).await;
        assert_eq!(result["isError"], false, "{tool}: {result}");
        result["structuredContent"].clone()
    };
    let app = |mut more: Value| {
        more["app"] = json!("echo-desk");
        more
    };
    let operations = done("core.operations.list", json!({})).await;
    assert_eq!(operations["operations"][0]["operation"], "shout");
    let described = done("core.tools.describe", app(json!({ "tool": "shout" }))).await;
    assert_eq!(described["input"]["required"], json!(["text"]));
    assert_eq!(done("core.tools.search", json!({ "query": "LOUDER says" })).await["tools"][0]["tool"], "shout");
    let called = done("core.operations.call", app(json!({ "operation": "shout", "input": { "text": "hi" } }))).await;
    assert_eq!((&called["output"], &called["path"]), (&json!({ "shout": "HI" }), &json!("model")));

    let read = done("core.definitions.read", app(json!({ "path": "app.yaml" }))).await;
    let text = read["text"].as_str().unwrap().replace("Shouts what it is told.", "Shouts.");
    let write = app(json!({ "path": "app.yaml", "text": text, "expected_revision": read["revision"] }));
    assert_eq!(done("core.definitions.write", write.clone()).await["changed"], true);
    let stale = call("core.definitions.write", write).await;
    assert_eq!(stale["isError"], true, "{stale}");
    let now = done("core.definitions.list", app(json!({}))).await["revision"].clone();
    let faulty = app(json!({ "path": "app.yaml", "text": "spec: 1", "expected_revision": now }));
    let faulty = call("core.definitions.write", faulty).await;
    assert!(faulty["content"][0]["text"].as_str().unwrap().contains("app.yaml"), "{faulty}");
    let diff = done("core.definitions.diff", app(json!({ "from": read["revision"] }))).await;
    assert!(diff["diff"].as_str().unwrap().contains("+  description: Shouts."), "{diff}");
    assert_eq!(done("core.definitions.history", app(json!({}))).await["changes"].as_array().unwrap().len(), 2);
    let audit = host.json("/v1/audit?action=file.put").await;
    assert_eq!(audit["records"][0]["target"], "echo-desk/app.yaml", "{audit}");

    done("core.state.set", app(json!({ "key": "a", "value": { "n": [1] } }))).await;
    assert_eq!(done("core.state.get", app(json!({ "key": "a" }))).await["value"], json!({ "n": [1] }));
    assert_eq!(done("core.state.increment", app(json!({ "key": "b", "by": 5 }))).await["value"], 5);
    assert_eq!(done("core.state.get", app(json!({ "key": "b" }))).await["value"], 5);
    assert_eq!(done("core.state.list", app(json!({}))).await["keys"], json!(["a", "b"]));
    done("core.state.delete", app(json!({ "key": "a" }))).await;
    assert_eq!(done("core.state.get", app(json!({ "key": "a" }))).await["value"], Value::Null);
    assert_eq!(call("core.state.increment", app(json!({ "key": "b", "bucket": "../x" }))).await["isError"], true);

    done("core.memory.append", app(json!({ "document": "context", "text": "Closed on Sunday." }))).await;
    let hits = done("core.memory.search", app(json!({ "query": "sunday" }))).await;
    assert_eq!(hits["hits"][0]["document"], "context", "{hits}");
    assert!(done("core.memory.read", app(json!({ "document": "context" }))).await["text"].is_string());
    assert!(done("core.events.publish", app(json!({ "type": "shop.opened", "data": 1 }))).await["id"].is_string());
    let wrong = call("core.memory.search", app(json!({ "query": 1 }))).await;
    assert!(wrong["content"][0]["text"].as_str().unwrap().starts_with("invalid_arguments"), "{wrong}");

    // The other operation's answer is written down within a second.
    let id = called["execution"].clone();
    in_time(async {
        while call("core.executions.get", json!({ "id": id })).await["isError"] == true {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(done("core.executions.list", json!({ "app": "echo-desk" })).await["executions"][0]["id"], id);

    let stranger = host.key(&["apps:other:invoke"]).await;
    let told = message(
        request(&stranger, "core.operations.call", app(json!({ "operation": "shout", "input": 1 })))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert!(told["result"]["content"][0]["text"].as_str().unwrap().starts_with("forbidden"), "{told}");
    let told = message(request(&stranger, "core.state.get", app(json!({ "key": "a" }))).send().await.unwrap()).await;
    assert_eq!(told["error"]["code"], -32602, "a tool that the key can use nowhere is not there: {told}");
}
