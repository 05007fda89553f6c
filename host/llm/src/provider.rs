//! Many models behind aliases.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_model::{GenerateRequest, Generation, ModelError, ModelErrorKind, ModelProvider, TokenSink, Usage};
use reqwest::{header::HeaderValue, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{
    answer,
    exchange::Exchange,
    failure::Failure,
    hint,
    schema::Validators,
    settings::{KeyReference, ModelSettings, Price},
    wire::Tokens,
};

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Gives the secret behind a reference, `None` where there is none. It is asked for each request, so that a changed key
/// works at once; it must be quick.
pub type KeyResolver = Arc<dyn Fn(&KeyReference) -> Option<SecretString> + Send + Sync>;

/// The models could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The HTTP client cannot be built; most of the time, the host has no CA certificates.
    #[error("cannot set up the HTTP client for model providers; are CA certificates installed?")]
    Client(#[source] reqwest::Error),
}

/// Language models behind aliases.
///
/// Connections use no proxy from the environment and follow no redirect. Nothing is tried again on errors; the only second
/// question is the one repair round for an answer that is not JSON or fails its schema.
pub struct LanguageModels {
    models: BTreeMap<String, ModelSettings>,
    keys: KeyResolver,
    client: reqwest::Client,
    validators: Validators,
}

impl fmt::Debug for LanguageModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageModels").field("models", &self.models).finish_non_exhaustive()
    }
}

impl LanguageModels {
    /// Sets up models by alias. No key is needed and no endpoint is called before the first request.
    pub fn new(models: BTreeMap<String, ModelSettings>, keys: KeyResolver) -> Result<Self, LlmError> {
        let client = http_client(models.values().any(|settings| settings.endpoint.is_https()))?;
        Ok(Self { models, keys, client, validators: Validators::default() })
    }

    /// The aliases and what stands behind them.
    pub fn models(&self) -> &BTreeMap<String, ModelSettings> {
        &self.models
    }

    /// The key for a model; `None` where its settings name none.
    fn key(&self, settings: &ModelSettings) -> Result<Option<Key>, Failure> {
        let Some(reference) = &settings.key else { return Ok(None) };
        let missing = |why: &str| Failure::new(ModelErrorKind::MissingKey, format!("{reference} {why}"));
        let key = (self.keys)(reference).ok_or_else(|| missing("is not there"))?;
        let trimmed = key.expose_secret().trim();
        if trimmed.is_empty() {
            return Err(missing("is empty"));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {trimmed}"))
            .map_err(|_| missing("does not hold a key: it has a line break or another control character"))?;
        header.set_sensitive(true);
        Ok(Some(Key { secret: SecretString::from(trimmed), header }))
    }

    async fn rounds(
        &self,
        exchange: Exchange<'_>,
        mut sink: Option<&mut (dyn TokenSink + '_)>,
        used: &mut Tokens,
    ) -> Result<Answered, Failure> {
        let request = exchange.request;
        let validator = self.validators.of(&request.schema).map_err(|error| {
            Failure::new(ModelErrorKind::SchemaMismatch, format!("the schema itself is not valid: {error}"))
        })?;
        let first = exchange.ask(&request.messages, sink.as_deref_mut(), used).await?;
        let flaw = match answer::read(&first.text, &validator) {
            Ok(value) => return Ok(Answered { value, model: first.model, repaired: false }),
            Err(flaw) => flaw,
        };

        tracing::debug!(model = request.model, kind = flaw.kind().code(), "asking for a repaired answer");
        if let Some(sink) = sink.as_deref_mut() {
            sink.restart();
        }
        let mut messages = request.messages.clone();
        messages.extend(flaw.repair(&first.text));
        let second = exchange.ask(&messages, sink, used).await?;
        match answer::read(&second.text, &validator) {
            Ok(value) => Ok(Answered { value, model: second.model, repaired: true }),
            Err(flaw) => Err(Failure::new(flaw.kind(), flaw.detail())),
        }
    }
}

/// A key, ready to be sent.
struct Key {
    secret: SecretString,
    header: HeaderValue,
}

/// A checked answer.
struct Answered {
    value: Value,
    model: Option<String>,
    repaired: bool,
}

fn late(timeout: Duration) -> Failure {
    Failure::new(ModelErrorKind::Timeout, format!("no whole answer within {timeout:?}"))
}

fn http_client(https: bool) -> Result<reqwest::Client, LlmError> {
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .no_gzip()
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")));
    if !https {
        // Then a host without CA certificates will do.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(LlmError::Client)
}

#[async_trait]
impl ModelProvider for LanguageModels {
    async fn generate(
        &self,
        request: &GenerateRequest,
        sink: Option<&mut dyn TokenSink>,
    ) -> Result<Generation, ModelError> {
        let Some(settings) = self.models.get(&request.model) else {
            return Err(ModelError {
                model: request.model.clone(),
                kind: ModelErrorKind::UnknownModel,
                detail: String::new(),
                hint: hint::unknown(&request.model, self.models.keys().map(String::as_str)),
                usage: Usage::default(),
            });
        };
        let mut used = Tokens::default();
        let key = self.key(settings);
        let outcome = match &key {
            Err(missing) => Err(missing.clone()),
            Ok(key) => {
                let authorization = key.as_ref().map(|key| key.header.clone());
                let exchange = Exchange { client: &self.client, settings, authorization, request };
                let answer = tokio::time::timeout(request.timeout, self.rounds(exchange, sink, &mut used));
                answer.await.unwrap_or_else(|_| Err(late(request.timeout)))
            }
        };
        let usage = Price::usage(settings.price.as_ref(), used.input, used.output);
        let secret = key.as_ref().ok().and_then(Option::as_ref).map(|key| key.secret.expose_secret());
        match outcome {
            Ok(Answered { value, model, repaired }) => {
                Ok(Generation { value, usage, model: model.unwrap_or_else(|| settings.model.clone()), repaired })
            }
            Err(failure) => Err(ModelError {
                model: request.model.clone(),
                detail: failure.shown(secret),
                hint: hint::of(&failure.kind, &request.model, settings),
                kind: failure.kind,
                usage,
            }),
        }
    }

    fn resolve(&self, alias: &str) -> Option<String> {
        self.models.get(alias).map(ModelSettings::identity)
    }
}
