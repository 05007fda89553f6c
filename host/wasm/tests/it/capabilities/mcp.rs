//! What a plugin says in the words of MCP, with a real component.

use std::sync::Arc;

use nexus_model::{Grants, Offers, PluginHost as _};
use serde_json::json;

use super::{call, fixture, host, linked};
use crate::services::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn content_is_known_and_what_is_offered_is_no_tool() {
    let facts = host(|_| {}).inspect(&fixture("mcp.wasm")).await.unwrap();
    assert_eq!(facts.offers, Offers { resources: true, prompts: true });
    let answers: Vec<_> = facts.tools.iter().filter(|tool| tool.content).map(|tool| tool.name.as_str()).collect();
    assert_eq!(answers.len(), 6, "{answers:?}");
    assert!(answers.iter().all(|name| name.starts_with("content.")), "{answers:?}");
    let offered = |name: &str| name.starts_with("resources") || name.starts_with("prompts") || name.contains('#');
    assert!(!facts.tools.iter().any(|tool| offered(&tool.name)));
    let plain = host(|_| {}).inspect(&fixture("state.wasm")).await.unwrap();
    assert!(plain.offers.is_empty() && !plain.tools.iter().any(|tool| tool.content));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_is_called_by_its_interface_and_nobody_is_asked_where_nobody_is() {
    let grants = Grants { caller: true, ..Grants::default() };
    let (plugin, desk) = (linked(&host(|_| {}), "mcp.wasm", &grants).await, Arc::new(Desk::default()));
    let uri = json!({ "uri": "test://template/7/data" });
    let body = call(&plugin, &desk, &format!("{}#read", Offers::RESOURCES), uri).await.unwrap();
    assert!(body[0]["body"]["text"].as_str().is_some_and(|text| text.contains("Data for ID: 7")), "{body}");
    let none = call(&plugin, &desk, &format!("{}#read", Offers::RESOURCES), json!({ "uri": "a://b" })).await.unwrap();
    assert!(none.is_null(), "{none}");
    let refused = call(&plugin, &desk, "asking.name", json!({})).await.unwrap_err();
    assert!(refused.as_str().is_some_and(|why| why.contains("nobody is there")), "{refused}");
    let image = call(&plugin, &desk, "content.image", json!({})).await.unwrap();
    assert_eq!(image[0]["image"]["media-type"], "image/png");
}
