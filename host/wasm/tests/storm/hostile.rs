//! The rows of the table of hostile inputs that a call can be.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use async_trait::async_trait;
use nexus_egress::{Egress, EgressConfig, Resolver};
use nexus_model::{ComponentFault, Grants, HttpGrant, LinkedPlugin, PluginHost, ToolFault, ToolOutcome};
use nexus_wasm::WasmHost;
use serde_json::{Value, json};

use crate::{
    guests,
    support::{fixture, guest},
};

/// What a call may end as. A deadline of 5 ms comes before anything else on a busy machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Deadline,
    Limit,
    Stack,
    Trap,
    /// It found its cap and lives with that.
    Answer,
    /// Its request went nowhere.
    Denied,
}

impl End {
    pub(crate) fn is(self, outcome: &Result<ToolOutcome, ToolFault>) -> bool {
        match outcome {
            Err(ToolFault::Component(ComponentFault::Deadline(_))) => true,
            Err(ToolFault::Component(ComponentFault::Limit(_))) => self == Self::Limit,
            Err(ToolFault::Component(ComponentFault::Stack)) => self == Self::Stack,
            Err(ToolFault::Component(ComponentFault::Trap(_))) => self == Self::Trap,
            Ok(ToolOutcome::Value(_)) => self == Self::Answer,
            Ok(ToolOutcome::Error(error)) => {
                self == Self::Denied && error.to_string().contains("DestinationIpProhibited")
            }
            Err(_) => false,
        }
    }
}

/// A call, and what it may end as.
pub(crate) struct Hostile {
    pub(crate) plugin: Arc<dyn LinkedPlugin>,
    pub(crate) tool: &'static str,
    pub(crate) arguments: Value,
    pub(crate) end: End,
}

/// Guests that are operations, too: rows 1 to 7.
fn operations() -> Vec<(Vec<u8>, End)> {
    vec![
        (guests::endless_loop(), End::Deadline),
        (guests::sleeper(), End::Deadline),
        (guests::memory_grower(), End::Answer),
        (guests::memories_grower(), End::Answer),
        (guests::deep_recursion(), End::Stack),
        (guests::long_answer(), End::Limit),
        (guests::hoarder(), End::Limit),
        (guests::endless_output(60_000), End::Deadline),
        (guests::endless_output(0), End::Deadline),
        (guest("unreachable"), End::Trap),
        (guest("(local.set $length (i32.const 100000000))"), End::Trap),
    ]
}

/// The addresses of row 13, and a name behind which there is one.
const CLOSED: [&str; 8] = [
    "169.254.169.254",
    "2852039166",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "127.0.0.1",
    "[::1]",
    "name.example",
];

/// Calls of a component that is granted `wasi:http`: rows 5, 6, 7 and 13.
fn visits() -> Vec<(&'static str, Value, End)> {
    let mut visits = vec![
        ("requests.long-field", json!({ "bytes": 32 << 20 }), End::Limit),
        ("requests.hoard", json!({}), End::Limit),
        ("requests.add-fields", json!({}), End::Limit),
        ("requests.write-body", json!({ "bytes": 60_000 }), End::Deadline),
        ("requests.write-body", json!({ "bytes": 0 }), End::Deadline),
        ("requests.long-requests", json!({ "requests": 500, "bytes": 3 << 20 }), End::Answer),
    ];
    visits.extend(CLOSED.map(|authority| {
        let request = json!({
            "method": "GET", "scheme": "http", "authority": authority, "path": "/", "fields": [], "body": "",
        });
        ("requests.send", json!({ "request": request }), End::Denied)
    }));
    visits
}

pub(crate) async fn plugins(host: &WasmHost) -> Arc<Vec<Hostile>> {
    let mut all = Vec::new();
    for (component, end) in operations() {
        let plugin = host.link(&component, &Grants::default()).await.unwrap();
        all.push(Hostile { plugin, tool: "handler.run", arguments: json!({ "input": "x" }), end });
    }
    let http = CLOSED.map(|host| HttpGrant { origin: format!("http://{host}"), credential: None });
    let grants = Grants { http: http.into(), ..Grants::default() };
    let visitor = host.link(&fixture("http.wasm"), &grants).await.unwrap();
    for (tool, arguments, end) in visits() {
        all.push(Hostile { plugin: visitor.clone(), tool, arguments, end });
    }
    let plugin = host.link(&guests::aliases(), &grants).await.unwrap();
    all.push(Hostile { plugin, tool: "go", arguments: json!({}), end: End::Limit });
    Arc::new(all)
}

/// An egress as a server has it, but for the names: all of them lead to the metadata service of a cloud.
pub(crate) fn egress() -> Egress {
    Egress::new(EgressConfig::default(), Arc::new(Metadata))
}

#[derive(Debug)]
struct Metadata;

#[async_trait]
impl Resolver for Metadata {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::new(169, 254, 169, 254).into()])
    }
}
