//! A twin of the host of plugins: "components" say in JSON what they are, and their tools do what they are told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use nexus_model::{
    ComponentFault, GrantNeed, Grants, GuestLevel, GuestServices, LinkedPlugin, LoadError, Offers, PluginFacts,
    PluginHost, ServiceError, ToolFault, ToolOutcome, ToolSignature, sha256_hex,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What components begin with.
const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// The bytes of a component with these tools that needs these grants: import and YAML.
pub(crate) fn component(version: &str, tools: &[&str], needs: &[(&str, &str)]) -> Arc<[u8]> {
    let needs: Vec<_> = needs.iter().map(|(import, yaml)| json!({ "import": import, "yaml": yaml })).collect();
    let said = json!({ "version": version, "tools": tools, "needs": needs }).to_string();
    [HEADER, said.as_bytes()].concat().into()
}

/// Looks at components and links them, and counts both.
#[derive(Debug, Default)]
pub(crate) struct PluginTwins {
    pub(crate) inspected: AtomicUsize,
    pub(crate) linked: AtomicUsize,
    pub(crate) held: Arc<Held>,
}

/// Calls of the tool `held` wait here.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) waiting: AtomicUsize,
    pub(crate) release: Notify,
}

fn said(component: &[u8]) -> Result<Value, LoadError> {
    let said = component.strip_prefix(HEADER).and_then(|said| serde_json::from_slice(said).ok());
    said.ok_or_else(|| LoadError::NotAComponent("no twin".to_owned()))
}

#[async_trait]
impl PluginHost for PluginTwins {
    async fn inspect(&self, component: &[u8]) -> Result<Arc<PluginFacts>, LoadError> {
        self.inspected.fetch_add(1, Ordering::SeqCst);
        let said = said(component)?;
        let tools = said["tools"].as_array().unwrap().iter().map(|name| ToolSignature {
            name: name.as_str().unwrap().to_owned(),
            description: None,
            input: Arc::new(json!({ "type": "object" })),
            output: Some(Arc::new(json!({}))),
            content: false,
        });
        let grants: Vec<GrantNeed> = serde_json::from_value(said["needs"].clone()).unwrap();
        Ok(Arc::new(PluginFacts {
            digest: sha256_hex(component),
            tools: tools.collect(),
            left_out: Vec::new(),
            imports: grants.iter().map(|need| need.import.clone()).collect(),
            grants,
            wit: format!("world {}", said["version"]),
            offers: Offers::default(),
        }))
    }

    async fn known(&self, _: &str) -> Option<Arc<PluginFacts>> {
        None
    }

    async fn link(&self, component: &[u8], _: &Grants) -> Result<Arc<dyn LinkedPlugin>, LoadError> {
        self.linked.fetch_add(1, Ordering::SeqCst);
        let version = said(component)?["version"].as_str().unwrap().to_owned();
        Ok(Arc::new(Twin { version, held: Arc::clone(&self.held) }))
    }
}

#[derive(Debug)]
struct Twin {
    version: String,
    held: Arc<Held>,
}

#[async_trait]
impl LinkedPlugin for Twin {
    async fn call(
        &self,
        tool: &str,
        arguments: &Value,
        services: Arc<dyn GuestServices>,
        deadline: Duration,
    ) -> Result<ToolOutcome, ToolFault> {
        match tool {
            "echo" => Ok(ToolOutcome::Value(arguments.clone())),
            "fails" => Ok(ToolOutcome::Error(json!({ "sorry": arguments }))),
            "version" => Ok(ToolOutcome::Value(json!(self.version))),
            "big" => Ok(ToolOutcome::Value(json!("x".repeat(1 << 20)))),
            "picky" => {
                let wrong = ToolFault::Arguments {
                    path: "lines[3].qty".to_owned(),
                    expected: "a whole number".to_owned(),
                    got: "`many`".to_owned(),
                };
                Err(wrong)
            }
            "loops" => Err(ComponentFault::Deadline(deadline).into()),
            "held" => {
                let released = self.held.release.notified();
                self.held.waiting.fetch_add(1, Ordering::SeqCst);
                released.await;
                Ok(ToolOutcome::Value(json!(self.version)))
            }
            "does" => Ok(match done(arguments, services.as_ref()).await {
                Ok(value) => ToolOutcome::Value(value),
                Err(error) => ToolOutcome::Error(json!(error.to_string())),
            }),
            _ => Err(ToolFault::Unknown(tool.to_owned())),
        }
    }
}

/// Does what the arguments say with the host's services.
async fn done(arguments: &Value, services: &dyn GuestServices) -> Result<Value, ServiceError> {
    let text = |name: &str| arguments[name].as_str().unwrap_or_default();
    let bytes = |name: &str| arguments[name].as_str().map(|text| text.as_bytes().to_vec());
    let (bucket, key) = (text("bucket"), text("key"));
    Ok(match text("what") {
        "get" => json!(services.get(bucket, key).await?.map(|value| String::from_utf8(value).unwrap())),
        "set" => json!(services.set(bucket, key, bytes("value").unwrap_or_default()).await?),
        "delete" => json!(services.delete(bucket, key).await?),
        "increment" => json!(services.increment(bucket, key, 2).await?),
        "swap" => {
            let value = bytes("value").unwrap_or_default();
            json!(services.compare_and_set(bucket, key, bytes("expected"), value).await?)
        }
        "keys" => {
            let page = services.keys(bucket, arguments["cursor"].as_str()).await?;
            json!({ "keys": page.keys, "next": page.next })
        }
        "folder" => json!(services.folder().await?),
        "secret" => {
            use secrecy::ExposeSecret;
            json!(services.secret(&text("key").parse().unwrap()).await?.expose_secret())
        }
        "call" => match services.call_tool(text("tool"), arguments["arguments"].clone()).await? {
            Ok(value) => value,
            Err(error) => json!({ "own error": error }),
        },
        // Calls itself until somebody says no.
        "recurse" => match services.call_tool(text("tool"), arguments.clone()).await? {
            Ok(value) => json!(value.as_u64().unwrap_or_default() + 1),
            Err(error) => json!(if error.as_str().unwrap().contains("deep") { 1 } else { 1_000 }),
        },
        "publish" => json!(services.publish(text("type"), arguments["subject"].as_str(), json!({ "n": 1 })).await?),
        "generate" => json!(services.generate(text("model"), None, text("prompt")).await?),
        "log" => json!(services.log(GuestLevel::Warn, "order", text("value"))),
        other => json!(format!("cannot {other}")),
    })
}
