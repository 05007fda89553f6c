//! Models as they are shown again. A key is a reference here; its value is never part of the settings.

use std::collections::BTreeMap;

use nexus_llm::{ModelSettings, ResponseFormat};
use serde::{Serialize, Serializer};
use serde_json::json;

pub(super) fn serialize<S: Serializer>(
    models: &BTreeMap<String, ModelSettings>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let shown: BTreeMap<_, _> = models.iter().map(|(alias, model)| (alias, show(model))).collect();
    shown.serialize(serializer)
}

fn show(model: &ModelSettings) -> serde_json::Value {
    let mut shown = json!({
        "provider": model.provider.as_str(),
        "endpoint": model.endpoint.to_string(),
        "model": model.model,
        "response_format": match model.response_format {
            ResponseFormat::JsonSchema => "json_schema",
            ResponseFormat::JsonObject => "json_object",
            ResponseFormat::Text => "text",
        },
    });
    if let Some(key) = &model.key {
        shown["key"] = json!(key);
    }
    if let Some(price) = &model.price {
        shown["price"] = json!({
            "input_usd_per_million": price.input_usd_per_million,
            "output_usd_per_million": price.output_usd_per_million,
            "as_of": price.as_of.to_string(),
        });
        for (name, amount) in [
            ("cached_input_usd_per_million", price.cached_input_usd_per_million),
            ("cache_write_usd_per_million", price.cache_write_usd_per_million),
        ] {
            if let Some(amount) = amount {
                shown["price"][name] = json!(amount);
            }
        }
    }
    if let Some(max_tokens) = model.max_tokens {
        shown["max_tokens"] = json!(max_tokens);
    }
    if !model.fallback.is_empty() {
        shown["fallback"] = json!(model.fallback);
    }
    shown
}
