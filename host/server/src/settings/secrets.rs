//! Secrets that definitions name, as they are shown again: references only, never their values.

use std::collections::BTreeMap;

use nexus_llm::KeyReference;
use nexus_model::AppName;
use serde::{Serialize, Serializer};
use serde_json::json;

/// Application → name → where the secret is.
pub type SecretSettings = BTreeMap<AppName, BTreeMap<String, KeyReference>>;

pub(super) fn serialize<S: Serializer>(secrets: &SecretSettings, serializer: S) -> Result<S::Ok, S::Error> {
    let show = |reference: &KeyReference| match reference {
        KeyReference::Env(name) => json!({ "env": name }),
        KeyReference::File(path) => json!({ "file": path }),
        KeyReference::Secret(name) => json!({ "secret": name }),
    };
    let shown: BTreeMap<&AppName, BTreeMap<&String, serde_json::Value>> = secrets
        .iter()
        .map(|(app, named)| (app, named.iter().map(|(name, reference)| (name, show(reference))).collect()))
        .collect();
    shown.serialize(serializer)
}
