//! What an operator writes about a model.

mod endpoint;
mod price;

use std::{fmt, path::PathBuf};

use nexus_model::SecretName;
use serde::{Deserialize, Serialize};

pub use endpoint::{Endpoint, InvalidEndpoint};
pub use price::Price;

/// One model of `nexus.yaml`, under the alias that prompts use.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct ModelSettings {
    /// The protocol that the endpoint speaks.
    pub provider: Provider,
    /// The base URL, for example `https://api.openai.com/v1`; the provider's own if left out.
    pub endpoint: Endpoint,
    /// The provider's name of the model.
    pub model: String,
    /// Where the API key is; left out for an endpoint that wants none.
    pub key: Option<KeyReference>,
    /// What tokens cost. Left out, the bundled [`crate::PriceList`] is asked; what is not there either is not known.
    pub price: Option<Price>,
    /// How the endpoint is told the schema of the answer.
    pub response_format: ResponseFormat,
    /// The most tokens of an answer, where the prompt does not say.
    pub max_tokens: Option<u32>,
    /// Aliases of the models that are asked in this order when this one is at its limit, fails or cannot be reached.
    pub fallback: Vec<String>,
}

/// The settings as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    provider: Provider,
    #[serde(default)]
    endpoint: Option<Endpoint>,
    model: String,
    #[serde(default)]
    key: Option<KeyReference>,
    #[serde(default)]
    price: Option<Price>,
    #[serde(default)]
    response_format: ResponseFormat,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    fallback: Vec<String>,
}

impl From<Written> for ModelSettings {
    fn from(written: Written) -> Self {
        Self {
            endpoint: written.endpoint.unwrap_or_else(|| Endpoint::of(written.provider)),
            provider: written.provider,
            model: written.model,
            key: written.key,
            price: written.price,
            response_format: written.response_format,
            max_tokens: written.max_tokens,
            fallback: written.fallback,
        }
    }
}

impl ModelSettings {
    /// The endpoint and the model, as `endpoint/model`.
    pub fn identity(&self) -> String {
        format!("{}/{}", self.endpoint, self.model)
    }
}

/// A protocol to ask a model with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Chat completions as `OpenAI` defined them, which most endpoints offer.
    #[default]
    OpenAi,
    /// The Messages API of Anthropic.
    Anthropic,
    /// Ollama's own chat API.
    Ollama,
}

impl Provider {
    /// The word of the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
        }
    }
}

/// How an endpoint is told the schema of the answer. The answer is checked here in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// As a JSON Schema, where its root is an object, as endpoints require; enforced where the schema is closed.
    #[default]
    JsonSchema,
    /// Only that the answer is a JSON object. Anthropic knows no such thing: there the answer is the input of a tool with
    /// this schema, which older models know too.
    JsonObject,
    /// Not at all, for endpoints that know neither.
    Text,
}

/// Where an API key is: `{ env: NAME }`, `{ file: /run/secrets/name }` or `{ secret: name }`. What it leads to is never part of
/// the settings, so that they can be shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyReference {
    /// In an environment variable.
    Env(String),
    /// In a file.
    File(PathBuf),
    /// Among the host's secrets, under this name.
    Secret(SecretName),
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable `{name}`"),
            Self::File(path) => write!(f, "the file `{}`", path.display()),
            Self::Secret(name) => write!(f, "the secret `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{KeyReference, ModelSettings, Provider};

    #[test]
    fn settings_read_as_written() {
        let settings: ModelSettings = serde_json::from_value(json!({
            "provider": "openai",
            "endpoint": "https://api.example.com/v1/",
            "model": "small-2026",
            "key": { "env": "EXAMPLE_KEY" },
            "price": { "input_usd_per_million": 0.15, "output_usd_per_million": 0.6, "as_of": "2026-01-31" },
        }))
        .unwrap();
        assert_eq!(settings.provider, Provider::OpenAi);
        assert_eq!(settings.identity(), "https://api.example.com/v1/small-2026");
        assert_eq!(settings.key, Some(KeyReference::Env("EXAMPLE_KEY".to_owned())));
        assert_eq!(settings.price.unwrap().as_of.to_string(), "2026-01-31");
    }

    #[test]
    fn providers_have_endpoints() {
        for (provider, endpoint) in [
            ("openai", "https://api.openai.com/v1"),
            ("anthropic", "https://api.anthropic.com/v1"),
            ("ollama", "http://127.0.0.1:11434"),
        ] {
            let written = json!({ "provider": provider, "model": "m" });
            let settings: ModelSettings = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(settings.endpoint.to_string(), endpoint);
            assert_eq!(settings.provider.as_str(), provider);
            // The default is no other endpoint than the same one written down.
            let mut same = written;
            same["endpoint"] = json!(format!("{endpoint}/"));
            assert_eq!(serde_json::from_value::<ModelSettings>(same).unwrap(), settings);
        }
    }

    #[test]
    fn mistakes_are_refused() {
        let good = json!({ "endpoint": "https://api.example.com/v1", "model": "m" });
        for (field, value, message) in [
            ("endpoint", json!("ftp://x"), "must begin with"),
            ("endpoint", json!("https://user:secret@x/v1"), "must not hold"),
            ("endpoint", json!("https://x/v1?key=secret"), "must not hold"),
            ("endpoint", json!("api.example.com"), "not a URL"),
            ("modle", json!("m"), "unknown field"),
            ("key", json!({ "value": "secret" }), "unknown variant"),
            ("provider", json!("other"), "unknown variant"),
            (
                "price",
                json!({ "input_usd_per_million": -1, "output_usd_per_million": 0, "as_of": "2026-01-31" }),
                "from 0",
            ),
            ("price", json!({ "input_usd_per_million": 1, "output_usd_per_million": 0, "as_of": "today" }), "parsed"),
        ] {
            let mut settings = good.clone();
            settings[field] = value;
            let error = serde_json::from_value::<ModelSettings>(settings).unwrap_err().to_string();
            assert!(error.contains(message) && !error.contains("secret@"), "{field}: {error}");
        }
    }
}
