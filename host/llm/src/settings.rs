//! What an operator writes about a model.

use std::{fmt, path::PathBuf, str::FromStr};

use nexus_model::{NanoUsd, Usage};
use serde::{Deserialize, Deserializer, de::Error as _};
use time::Date;
use url::Url;

/// One model of `nexus.yaml`, under the alias that prompts use.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// The protocol that the endpoint speaks.
    #[serde(default)]
    pub provider: Provider,
    /// The base URL, for example `https://api.openai.com/v1`.
    pub endpoint: Endpoint,
    /// The provider's name of the model.
    pub model: String,
    /// Where the API key is; left out for an endpoint that wants none.
    #[serde(default)]
    pub key: Option<KeyReference>,
    /// What tokens cost; without it, costs are counted as zero.
    #[serde(default)]
    pub price: Option<Price>,
    /// How the endpoint is told the schema of the answer.
    #[serde(default)]
    pub response_format: ResponseFormat,
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
}

/// How an endpoint is told the schema of the answer. The answer is checked here in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// As a JSON Schema, where its root is an object, as endpoints require; enforced where the schema is closed.
    #[default]
    JsonSchema,
    /// Only that the answer is a JSON object.
    JsonObject,
    /// Not at all, for endpoints that know neither.
    Text,
}

/// Where an API key is: `{ env: NAME }` or `{ file: /run/secrets/name }`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyReference {
    /// In an environment variable.
    Env(String),
    /// In a file.
    File(PathBuf),
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable `{name}`"),
            Self::File(path) => write!(f, "the file `{}`", path.display()),
        }
    }
}

/// The base URL of an API: `http` or `https`, without credentials, query and fragment, so that it can be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// The URL of a call below the base.
    pub(crate) fn call(&self, path: &str) -> String {
        format!("{self}/{path}")
    }

    /// Whether it is `OpenAI` itself, not only one that speaks its protocol.
    pub(crate) fn is_openai(&self) -> bool {
        self.0.host_str() == Some("api.openai.com")
    }

    /// Whether calls are encrypted.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Why a base URL was refused. The URL itself is not repeated, for it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is no URL.
    #[error("the endpoint is not a URL: {0}")]
    Syntax(#[from] url::ParseError),
    /// It is of another scheme.
    #[error("the endpoint must begin with `http://` or `https://`")]
    Scheme,
    /// It holds more than a base URL may.
    #[error("the endpoint must not hold a user, a password, a query or a fragment; a key belongs into `key`")]
    Extra,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(text)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidEndpoint::Scheme);
        }
        let credentials = !url.username().is_empty() || url.password().is_some();
        if credentials || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidEndpoint::Extra);
        }
        Ok(Self(url))
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

time::serde::format_description!(iso_date, Date, "[year]-[month]-[day]");

/// What tokens cost, and when that was true.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars for a million tokens of the prompt; six decimals count.
    #[serde(deserialize_with = "amount")]
    pub input_usd_per_million: f64,
    /// US dollars for a million tokens of the answer; six decimals count.
    #[serde(deserialize_with = "amount")]
    pub output_usd_per_million: f64,
    /// The day on which the price was looked up, as `YYYY-MM-DD`.
    #[serde(with = "iso_date")]
    pub as_of: Date,
}

fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let usd = f64::deserialize(deserializer)?;
    if (0.0..=1e6).contains(&usd) { Ok(usd) } else { Err(D::Error::custom("a price is from 0 to 1000000 USD")) }
}

impl Price {
    /// The cost of an answer, rounded to the next nano-dollar.
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let pico = u128::from(input_tokens) * pico_per_token(self.input_usd_per_million)
            + u128::from(output_tokens) * pico_per_token(self.output_usd_per_million);
        NanoUsd(u64::try_from((pico + 500) / 1_000).unwrap_or(u64::MAX))
    }

    /// The usage with its cost; zero without a price.
    pub(crate) fn usage(price: Option<&Self>, input_tokens: u64, output_tokens: u64) -> Usage {
        let cost = price.map_or_else(NanoUsd::default, |price| price.cost(input_tokens, output_tokens));
        Usage { input_tokens, output_tokens, cost }
    }
}

/// A dollar for a million tokens is a micro-dollar, or 10⁶ pico-dollars, for one: whole up to six decimals.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10¹² and rounded")]
fn pico_per_token(usd_per_million: f64) -> u128 {
    (usd_per_million.clamp(0.0, 1e6) * 1e6).round() as u128
}

#[cfg(test)]
mod tests {
    use nexus_model::NanoUsd;
    use serde_json::json;

    use super::{KeyReference, ModelSettings, Price, Provider};

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

    #[test]
    fn cost_is_exact() {
        let price = |input, output| Price {
            input_usd_per_million: input,
            output_usd_per_million: output,
            as_of: time::Date::MIN,
        };
        assert_eq!(price(0.15, 0.6).cost(1_000_000, 1_000_000), NanoUsd(750_000_000));
        assert_eq!(price(0.15, 0.6).cost(1_203, 41), NanoUsd(1_203 * 150 + 41 * 600));
        assert_eq!(price(0.037_5, 0.0).cost(1, 0), NanoUsd(38));
        assert_eq!(price(0.037_5, 0.0).cost(2, 0), NanoUsd(75));
        assert_eq!(price(1e6, 1e6).cost(u64::MAX, u64::MAX), NanoUsd(u64::MAX));
    }
}
