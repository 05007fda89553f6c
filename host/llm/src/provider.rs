//! Many models behind aliases.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use nexus_model::{
    AnsweredBy, GenerateRequest, Generation, ModelError, ModelErrorKind, ModelProvider, NanoUsd, TokenSink, Usage,
};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{
    answer,
    chain::{chain, fallback_faults, share},
    exchange::{Exchange, Key},
    failure::{Failure, MAX_DETAIL},
    hint,
    prices::PriceList,
    schema::Validators,
    settings::{KeyReference, ModelSettings, Price},
    tokens::Tokens,
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
    /// Fall-backs are not what they can be; all faults, each with the setting's name.
    #[error("{}", .0.join("; "))]
    Fallback(Vec<String>),
}

/// Language models behind aliases.
///
/// Connections use no proxy from the environment and follow no redirect. No model is asked again on errors; the only second
/// question is the one repair round for an answer that is not JSON or fails its schema. If the settings name fall-backs, the
/// next model is asked when one is at its limit, fails or cannot be reached, and the answer says which one gave it.
pub struct LanguageModels {
    models: BTreeMap<String, ModelSettings>,
    /// What is asked for each alias, in order.
    chains: BTreeMap<String, Vec<String>>,
    prices: BTreeMap<String, Price>,
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
        let faults = fallback_faults(&models);
        if !faults.is_empty() {
            return Err(LlmError::Fallback(faults));
        }
        let client = http_client(models.values().any(|settings| settings.endpoint.is_https()))?;
        let chains = models.keys().map(|alias| (alias.clone(), chain(&models, alias))).collect();
        let list = PriceList::bundled();
        let priced = models.iter().filter_map(|(alias, settings)| Some((alias.clone(), list.of(settings)?.price)));
        Ok(Self { chains, prices: priced.collect(), models, keys, client, validators: Validators::default() })
    }

    /// The aliases and what stands behind them.
    pub fn models(&self) -> &BTreeMap<String, ModelSettings> {
        &self.models
    }

    /// What the tokens of a model cost, by its settings or the bundled list; `None` where that is not known.
    pub fn price(&self, alias: &str) -> Option<&Price> {
        self.prices.get(alias)
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
        let header = settings.provider.key(trimmed);
        let header =
            header.map_err(|_| missing("does not hold a key: it has a line break or another control character"))?;
        Ok(Some(Key { secret: SecretString::from(trimmed), header }))
    }

    /// Asks one model, whatever comes of it.
    async fn ask(
        &self,
        alias: &str,
        request: &GenerateRequest,
        time: Duration,
        sink: Option<&mut (dyn TokenSink + '_)>,
    ) -> Result<Generation, ModelError> {
        let Some(settings) = self.models.get(alias) else { return Err(unknown(alias, &self.models)) };
        let mut used = Tokens::default();
        let key = self.key(settings);
        let outcome = match &key {
            Err(missing) => Err(missing.clone()),
            Ok(key) => {
                let key = key.as_ref();
                let exchange = Exchange { client: &self.client, settings, key, request, time, begun: Instant::now() };
                self.rounds(exchange, sink, &mut used).await
            }
        };
        let usage = Price::usage(self.prices.get(alias), &used);
        let secret = key.as_ref().ok().and_then(Option::as_ref).map(|key| key.secret.expose_secret());
        match outcome {
            Ok(Answered { value, model, repaired }) => {
                let by = AnsweredBy { alias: alias.to_owned(), model: model.unwrap_or_else(|| settings.model.clone()) };
                Ok(Generation { value, usage, by, repaired })
            }
            Err(failure) => Err(ModelError {
                model: alias.to_owned(),
                detail: failure.shown(secret),
                hint: hint::of(&failure.kind, alias, settings),
                kind: failure.kind,
                usage,
            }),
        }
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

fn unknown(alias: &str, models: &BTreeMap<String, ModelSettings>) -> ModelError {
    ModelError {
        model: alias.to_owned(),
        kind: ModelErrorKind::UnknownModel,
        detail: String::new(),
        hint: hint::unknown(alias, models.keys().map(String::as_str)),
        usage: Usage::NONE,
    }
}

/// What the model that was asked for failed with, and what came of the others.
fn told(failed: Vec<ModelError>, spent: Usage) -> Option<ModelError> {
    let mut failed = failed.into_iter();
    let first = failed.next()?;
    let others: Vec<String> = failed.map(|error| format!("`{}`: {}", error.model, error.kind)).collect();
    let detail = if others.is_empty() {
        first.detail
    } else {
        let others = format!("fall-backs failed too: {}", others.join(", "));
        let detail = if first.detail.is_empty() { others } else { format!("{}; {others}", first.detail) };
        answer::cut(&detail, MAX_DETAIL - 1)
    };
    Some(ModelError { detail, usage: spent, ..first })
}

/// A checked answer.
struct Answered {
    value: Value,
    model: Option<String>,
    repaired: bool,
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
        mut sink: Option<&mut dyn TokenSink>,
    ) -> Result<Generation, ModelError> {
        let Some(chain) = self.chains.get(&request.model) else {
            return Err(unknown(&request.model, &self.models));
        };
        let chain = if request.fallback { chain } else { &chain[..1] };
        let begun = Instant::now();
        let mut spent = Usage::NONE;
        let mut failed: Vec<ModelError> = Vec::new();
        for (turn, alias) in chain.iter().enumerate() {
            let time = share(request.timeout.saturating_sub(begun.elapsed()), chain.len() - turn);
            if let (Some(last), Some(sink)) = (failed.last(), sink.as_deref_mut()) {
                tracing::warn!(model = last.model, kind = last.kind.code(), next = alias, "falling back");
                sink.restart();
            }
            match self.ask(alias, request, time, sink.as_deref_mut()).await {
                Ok(generation) => return Ok(Generation { usage: spent + generation.usage, ..generation }),
                Err(error) => {
                    spent = spent + error.usage;
                    let passing = error.kind.is_passing();
                    failed.push(error);
                    if !passing {
                        break;
                    }
                }
            }
        }
        Err(told(failed, spent).unwrap_or_else(|| unknown(&request.model, &self.models)))
    }

    fn price(&self, alias: &str, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let chain = self.chains.get(alias).into_iter().flatten();
        let costs = chain.filter_map(|alias| Some(self.prices.get(alias)?.cost(input_tokens, output_tokens)));
        costs.max().unwrap_or_default()
    }

    fn resolve(&self, alias: &str) -> Option<String> {
        self.models.get(alias).map(ModelSettings::identity)
    }
}
