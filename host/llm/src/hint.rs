//! What the reader of an error can do about it. Pure.

use nexus_model::ModelErrorKind;

use crate::settings::{ModelSettings, Provider};

/// The hint for a configured model.
pub(crate) fn of(kind: &ModelErrorKind, alias: &str, settings: &ModelSettings) -> String {
    let endpoint = &settings.endpoint;
    let model = &settings.model;
    match kind {
        ModelErrorKind::UnknownModel => unknown(alias, std::iter::empty()),
        ModelErrorKind::MissingKey => match &settings.key {
            Some(key) => format!("put the API key for `{endpoint}` into {key}"),
            None => format!("add `key: {{ env: NAME }}` to the model `{alias}` in the server's settings"),
        },
        ModelErrorKind::Unauthorized => match &settings.key {
            Some(key) => format!("check that {key} holds a valid key for `{endpoint}` that may use `{model}`"),
            None => format!("the endpoint wants a key: add `key: {{ env: NAME }}` to the model `{alias}`"),
        },
        ModelErrorKind::RateLimited { .. } => {
            "wait, send fewer requests, or raise the limit of the provider's account".to_owned()
        }
        ModelErrorKind::Rejected { status: 300..=399 } => format!(
            "`{endpoint}` redirects; redirects are not followed, so that the key goes nowhere else: set `endpoint` to the final address"
        ),
        ModelErrorKind::Rejected { status: 404 } if settings.provider == Provider::Ollama => {
            format!(
                "fetch the model where Ollama runs, with `ollama pull {model}`, and check that `{endpoint}` is the base URL without a path"
            )
        }
        ModelErrorKind::Rejected { status: 404 } => {
            format!(
                "check that `{endpoint}` is the base URL of the API (it often ends in `/v1`) and has a model `{model}`"
            )
        }
        ModelErrorKind::Rejected { .. } => {
            format!(
                "the provider does not accept the request as it is: check the prompt's parameters and whether `{model}` supports the settings' `response_format`"
            )
        }
        ModelErrorKind::ProviderFailed { status: 529 } => {
            "the provider is overloaded: try again later, or name another model in `fallback`".to_owned()
        }
        ModelErrorKind::ProviderFailed { .. } => "try again later; the provider's status page may say more".to_owned(),
        ModelErrorKind::Unreachable if settings.provider == Provider::Ollama => {
            format!("start Ollama with `ollama serve`, or check `{endpoint}` and the network from this host to it")
        }
        ModelErrorKind::Unreachable => format!("check `{endpoint}` and the network from this host to it"),
        ModelErrorKind::Timeout => {
            "raise the application's `timeout`, or use a faster model or a shorter prompt".to_owned()
        }
        ModelErrorKind::Truncated => {
            "raise the prompt's `max_tokens` if the answer is long; otherwise the connection broke: try again"
                .to_owned()
        }
        ModelErrorKind::TooLarge => {
            "an answer may be 1 MiB and want 64 tools at one time: ask for less in the prompt, or set `max_tokens`"
                .to_owned()
        }
        ModelErrorKind::NotJson => {
            "say in the prompt that the answer is JSON and nothing else, or use a stronger model".to_owned()
        }
        ModelErrorKind::SchemaMismatch => {
            "make the prompt describe the fields of the output schema, or correct the schema".to_owned()
        }
    }
}

/// The hint for an alias that is not configured.
pub(crate) fn unknown<'a>(alias: &str, configured: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = configured.take(21).collect();
    let more = if names.len() > 20 { ", …" } else { "" };
    names.truncate(20);
    let known = if names.is_empty() { "none".to_owned() } else { format!("`{}`{more}", names.join("`, `")) };
    format!("add a model `{alias}` to the server's settings, or use one that is there: {known}")
}
