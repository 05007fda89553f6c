//! Where an API is.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};
use url::Url;

use super::Provider;

const OPENAI: &str = "api.openai.com";
const ANTHROPIC: &str = "api.anthropic.com";

/// The base URL of an API: `http` or `https`, without credentials, query and fragment, so that it can be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a slash at its end.
    url: Cow<'static, str>,
    /// The host's name.
    host: Cow<'static, str>,
    https: bool,
}

impl Endpoint {
    /// Where a provider itself, or an Ollama on this machine, is asked.
    pub(super) const fn of(provider: Provider) -> Self {
        let (url, host, https) = match provider {
            Provider::OpenAi => ("https://api.openai.com/v1", OPENAI, true),
            Provider::Anthropic => ("https://api.anthropic.com/v1", ANTHROPIC, true),
            Provider::Ollama => ("http://127.0.0.1:11434", "127.0.0.1", false),
        };
        Self { url: Cow::Borrowed(url), host: Cow::Borrowed(host), https }
    }

    /// The URL of a call below the base.
    pub(crate) fn call(&self, path: &str) -> String {
        format!("{self}/{path}")
    }

    /// Whether it is `OpenAI` itself, not only one that speaks its protocol.
    pub(crate) fn is_openai(&self) -> bool {
        self.host == OPENAI
    }

    /// Whether it is Anthropic itself.
    pub(crate) fn is_anthropic(&self) -> bool {
        self.host == ANTHROPIC
    }

    /// Whether calls are encrypted.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
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
        Ok(Self {
            url: Cow::Owned(url.as_str().trim_end_matches('/').to_owned()),
            host: Cow::Owned(url.host_str().unwrap_or_default().to_owned()),
            https: url.scheme() == "https",
        })
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
