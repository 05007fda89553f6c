//! What is not granted is not linked.

use nexus_model::{Access, Grants, HttpGrant, LoadError, PluginHost as _};

use super::{fixture, host};

fn http(origin: &str) -> Vec<HttpGrant> {
    vec![HttpGrant { origin: origin.to_owned(), credential: None }]
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_missing_is_said_at_once() {
    let host = host(|_| {});
    let error = host.link(&fixture("state.wasm"), &Grants::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LoadError::NotGranted(_)), "{text}");
    for line in ["\ngrants:\n", "\n  config: {}", "\n  state: read-write", "\n  logging: true"] {
        assert_eq!(text.matches(line).count(), 1, "{line}: {text}");
    }
    assert!(text.contains("wasi:keyvalue/store@0.2.0-draft,"), "{text}");
    let some = Grants { state: Some(Access::Read), config: Some([].into()), ..Grants::default() };
    let LoadError::NotGranted(needs) = host.link(&fixture("state.wasm"), &some).await.unwrap_err() else { panic!() };
    assert_eq!(needs.iter().map(|need| need.yaml.as_str()).collect::<Vec<_>>(), ["logging: true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_component_says_what_it_needs() {
    let host = host(|_| {});
    for (component, grants) in [
        ("state.wasm", &["config", "state", "logging"][..]),
        ("http.wasm", &["http"]),
        ("host.wasm", &["tools", "events", "models"]),
        ("folder.wasm", &[]),
        ("mcp.wasm", &["caller"]),
    ] {
        let facts = host.inspect(&fixture(component)).await.unwrap();
        let mut needed: Vec<_> = facts.grants.iter().filter_map(|need| Some(need.yaml.split_once(':')?.0)).collect();
        needed.dedup();
        assert_eq!(needed, grants, "{component}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_cannot_be_read_is_refused() {
    let error = host(|_| {}).link(&fixture("http.wasm"), &Grants { http: http("h/path"), ..Grants::default() }).await;
    assert!(matches!(error, Err(LoadError::Grant(why)) if why.contains("`h/path`")));
}
