//! The hub as the official conformance suite wants to see a client: a program that is given the URL of a server and does with
//! it what the scenario asks for. All of it goes through the hub.

use std::{collections::BTreeMap, env, ffi::OsStr, future::Future, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use async_trait::async_trait;
use nexus_mcp::hub::{
    Callback, Connect, Fault, Grant, HttpAuth, HubCall, HubConfig, HubError, KeyAlgorithm, McpHub, OAuthSpec,
    Registration, ServerSpec, TokenStore,
};
use nexus_model::{AskError, LogLine, Progress, Question, SilentCaller, ToolCaller};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

const SERVER: &str = "conformance";
/// Nobody listens there: where the browser is sent is read from the answer.
const REDIRECT: &str = "http://localhost:3000/callback";
/// The document that the suite expects.
const DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";

#[tokio::main]
async fn main() -> Result<()> {
    let url: Url = env::args().next_back().context("the URL of the server is missing")?.parse()?;
    let scenario = variable("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let context: Value =
        variable("MCP_CONFORMANCE_CONTEXT").map_or(Ok(Value::Null), |text| serde_json::from_str(&text))?;

    let mut config = HubConfig::default();
    config.egress.private_networks = vec!["127.0.0.0/8".parse()?, "::1/128".parse()?];
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let hub = McpHub::new(config, tasks.clone(), cancel.clone()).map_err(|why| anyhow!(why))?;
    hub.serve(ServerSpec {
        key: SERVER.to_owned(),
        connect: Connect::Http { url, auth: auth(&scenario, &context) },
        call_timeout: Duration::from_secs(15),
        connect_timeout: Duration::from_secs(15),
        result_bytes: 4 << 20,
        approved: None,
    });
    let done = run(&hub, &scenario, &context).await;
    cancel.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await?;
    done
}

async fn run(hub: &McpHub, scenario: &str, context: &Value) -> Result<()> {
    let offered = logged_in(hub, || hub.offered(SERVER)).await?;
    hub.approve(SERVER, offered.clone())?;
    let calls = context["toolCalls"].as_array();
    let calls: Vec<(String, Map<String, Value>)> = match calls {
        Some(calls) => calls.iter().filter_map(named).collect(),
        // The one takes the schema of the other.
        None if scenario == "json-schema-2020-12-preservation" => {
            let schema = offered.get("json_schema_2020_12_tool").map(|tool| tool["inputSchema"].clone());
            vec![("json_schema_echo".to_owned(), Map::from_iter([("schema".to_owned(), schema.unwrap_or_default())]))]
        }
        None => offered.iter().map(|(name, tool)| (name.clone(), arguments(&tool["inputSchema"]))).collect(),
    };
    for (tool, arguments) in calls {
        let call = || HubCall {
            tool: tool.clone(),
            arguments: arguments.clone(),
            meta: Map::new(),
            caller: Arc::new(Answering),
        };
        logged_in(hub, || hub.call(SERVER, call())).await?;
    }
    if scenario == "http-standard-headers" {
        for resource in hub.resources(SERVER).await? {
            let uri = resource["uri"].as_str().context("a resource has no URI")?;
            hub.read(SERVER, uri, Arc::new(SilentCaller)).await?;
        }
        for prompt in hub.prompts(SERVER).await? {
            let name = prompt["name"].as_str().context("a prompt has no name")?;
            hub.prompt(SERVER, name, Map::new(), Arc::new(SilentCaller)).await?;
        }
    }
    if scenario == "request-metadata" {
        hub.ping(SERVER).await?;
    }
    Ok(())
}

fn named(call: &Value) -> Option<(String, Map<String, Value>)> {
    Some((call["name"].as_str()?.to_owned(), call["arguments"].as_object()?.clone()))
}

/// Something for each argument that must be there.
fn arguments(schema: &Value) -> Map<String, Value> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let given = required.map(|name| {
        let value = match schema["properties"][name]["type"].as_str() {
            Some("number" | "integer") => json!(5),
            Some("boolean") => json!(true),
            Some("object") => json!({}),
            Some("array") => json!([]),
            _ => json!("something"),
        };
        (name.to_owned(), value)
    });
    given.collect()
}

/// Does something, and logs in whenever that is asked for.
async fn logged_in<T, F: Future<Output = Result<T, HubError>>>(hub: &McpHub, work: impl Fn() -> F) -> Result<T> {
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(HubError { fault: Fault::Login { .. }, .. }) => login(hub).await?,
            Err(error) => bail!(error),
        }
    }
}

/// Does what a person does with a browser.
async fn login(hub: &McpHub) -> Result<()> {
    let login = hub.begin_login(SERVER, &REDIRECT.parse()?).await?;
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let answer = browser.get(login.url).send().await?;
    let location = answer.headers().get(http::header::LOCATION).context("the page for logins sends nobody anywhere")?;
    let callback = Callback::from_url(&location.to_str()?.parse()?).map_err(|why| anyhow!(why))?;
    Ok(hub.finish_login(SERVER, &callback).await?)
}

fn auth(scenario: &str, context: &Value) -> HttpAuth {
    if !scenario.starts_with("auth/") {
        return HttpAuth::None;
    }
    let text = |name: &str| context[name].as_str().unwrap_or_default().to_owned();
    let secret = |name: &str| Arc::new(SecretString::from(text(name)));
    let grant = match scenario {
        "auth/client-credentials-basic" => {
            Grant::ClientSecret { client_id: text("client_id"), secret: secret("client_secret") }
        }
        "auth/client-credentials-jwt" => Grant::PrivateKey {
            client_id: text("client_id"),
            key: secret("private_key_pem"),
            algorithm: KeyAlgorithm::Es256,
        },
        "auth/pre-registration" => Grant::Person(Registration {
            client: Some((text("client_id"), Some(secret("client_secret")))),
            document: None,
        }),
        _ => Grant::Person(Registration { client: None, document: DOCUMENT.parse().ok() }),
    };
    HttpAuth::OAuth(Box::new(OAuthSpec { grant, scopes: Vec::new(), store: Arc::new(Memory::default()) }))
}

fn variable(name: impl AsRef<OsStr>) -> Option<String> {
    env::var_os(name)?.into_string().ok()
}

/// Tokens for as long as the program runs.
#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<String, SecretString>>);

#[async_trait]
impl TokenStore for Memory {
    async fn load(&self, key: &str) -> Result<Option<SecretString>, String> {
        Ok(self.0.lock().await.get(key).cloned())
    }

    async fn save(&self, key: &str, tokens: SecretString) -> Result<(), String> {
        self.0.lock().await.insert(key.to_owned(), tokens);
        Ok(())
    }

    async fn clear(&self, key: &str) -> Result<(), String> {
        self.0.lock().await.remove(key);
        Ok(())
    }
}

/// Accepts every form as it is.
#[derive(Debug)]
struct Answering;

#[async_trait]
impl ToolCaller for Answering {
    async fn progress(&self, _: Progress) {}

    async fn log(&self, _: LogLine) {}

    async fn ask(&self, question: Question) -> Result<Value, AskError> {
        match question.method.as_str() {
            "elicitation/create" => Ok(json!({"action": "accept", "content": {}})),
            "roots/list" => Ok(json!({"roots": []})),
            other => Err(AskError::Unsupported(other.to_owned())),
        }
    }
}
