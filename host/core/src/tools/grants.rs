//! What a plugin may use: decisions on values alone.

use nexus_model::{Access, Grants};

/// Whether a plugin with these grants may import this interface, which is named with or without its version. What nobody
/// knows is not granted.
pub(crate) fn granted(grants: &Grants, import: &str) -> bool {
    let interface = import.split_once('@').map_or(import, |(name, _)| name);
    match interface {
        "nexus:host/tools" => !grants.tools.is_empty(),
        "nexus:host/events" => !grants.events.is_empty(),
        "nexus:host/llm" => !grants.models.is_empty(),
        "nexus:mcp/client" => grants.caller,
        _ => match interface.split_once('/').map_or(interface, |(package, _)| package) {
            "wasi:http" => !grants.http.is_empty(),
            "wasi:config" => grants.config.is_some(),
            "wasi:keyvalue" => grants.state.is_some(),
            "wasi:logging" => grants.logging,
            _ => false,
        },
    }
}

/// Whether a name is meant by a pattern: a name, or what names begin with and `*`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// What `new` allows and `old` did not, a line of YAML for each; empty if the grants are not widened.
pub fn widened(old: &Grants, new: &Grants) -> Vec<String> {
    let mut more = Vec::new();
    for grant in new.http.iter().filter(|grant| !old.http.contains(grant)) {
        let credential = grant.credential.as_ref().map(|credential| format!(" with the secret {}", credential.secret));
        more.push(format!("http: {}{}", grant.origin, credential.unwrap_or_default()));
    }
    if new.config.is_some() && new.config != old.config {
        more.push(format!("config: {}", serde_json::to_string(&new.config).unwrap_or_default()));
    }
    let access = |name: &str, old: Option<Access>, new: Option<Access>| {
        let word = |access| if access == Access::Read { "read" } else { "read-write" };
        new.filter(|new| old.is_none_or(|old| old < *new)).map(|new| format!("{name}: {}", word(new)))
    };
    more.extend(access("state", old.state, new.state));
    more.extend(access("folder", old.folder, new.folder));
    let flags = [
        ("logging", old.logging, new.logging),
        ("clocks", old.clocks, new.clocks),
        ("random", old.random, new.random),
        ("caller", old.caller, new.caller),
    ];
    more.extend(flags.iter().filter(|(_, old, new)| *new && !old).map(|(name, ..)| format!("{name}: true")));
    for (name, old, new) in
        [("tools", &old.tools, &new.tools), ("events", &old.events, &new.events), ("models", &old.models, &new.models)]
    {
        let wider = |pattern: &&String| !old.iter().any(|known| covers(name, known, pattern));
        more.extend(new.iter().filter(wider).map(|pattern| format!("{name}: {pattern}")));
    }
    more
}

/// Whether everything that one pattern means is meant by the other. Models have no patterns.
fn covers(kind: &str, pattern: &str, other: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) if kind != "models" => other.starts_with(prefix),
        _ => pattern == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grants(value: serde_json::Value) -> Grants {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_interface_has_its_grant_and_others_have_none() {
        let all = grants(json!({
            "http": ["https://a.example"], "config": {}, "state": "read", "logging": true, "tools": ["a.b"],
            "events": ["x"], "models": ["small"], "caller": true,
        }));
        for import in [
            "wasi:http/outgoing-handler@0.2.6",
            "wasi:http/types@0.2.6",
            "wasi:config/store@0.2.0-rc.1",
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:keyvalue/atomics",
            "wasi:logging/logging",
            "nexus:host/tools@1.0.0",
            "nexus:host/events",
            "nexus:host/llm@1.2.3",
            "nexus:mcp/client@0.1.0",
        ] {
            assert!(granted(&all, import) && !granted(&Grants::default(), import), "{import}");
        }
        for foreign in ["nexus:host/admin", "wasi:httpx/types", "wasi:blobstore/container", "", "http"] {
            assert!(!granted(&all, foreign), "{foreign}");
        }
    }

    #[test]
    fn patterns_end_with_a_star_or_are_names() {
        assert!(matches("orders.price", "orders.price") && matches("orders.*", "orders.price"));
        assert!(!matches("orders.price", "orders.prices") && !matches("orders.*", "order.price"));
    }

    #[test]
    fn only_more_is_wider() {
        let old = grants(json!({
            "http": ["https://a.example", "https://b.example"], "state": "read-write", "tools": ["orders.*"],
            "models": ["sm*"], "logging": true, "config": { "a": "1" },
        }));
        let less = json!({ "http": ["https://a.example"], "state": "read", "tools": ["orders.price"] });
        assert_eq!(widened(&old, &grants(less)), [""; 0]);
        assert_eq!(widened(&old, &old), [""; 0]);
        let more = grants(json!({
            "http": [{ "origin": "https://a.example", "credential": { "secret": "key" } }], "state": "read-write",
            "folder": "read", "tools": ["*"], "clocks": true, "models": ["small"], "config": { "a": "2" },
        }));
        assert_eq!(
            widened(&old, &more),
            [
                "http: https://a.example with the secret key",
                "config: {\"a\":\"2\"}",
                "folder: read",
                "clocks: true",
                "tools: *",
                "models: small",
            ]
        );
    }
}
