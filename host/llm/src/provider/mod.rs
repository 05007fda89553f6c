//! Many models behind aliases.

mod ask;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_model::{
    ConverseRequest, GenerateRequest, Generation, ModelError, ModelErrorKind, ModelProvider, NanoUsd, Reply, TokenSink,
};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    chain::{chain, fallback_faults},
    exchange::Key,
    failure::Failure,
    prices::PriceList,
    question::{Question, spoken},
    schema::Validators,
    settings::{KeyReference, ModelSettings, Price},
};
use ask::Answered;

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
/// question is the one repair round for an answer that is not JSON or fails its schema; a wish for tools is not checked. If the settings name fall-backs, the
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
        let messages = spoken(&request.messages);
        let chain = self.chain(&request.model)?;
        let chain = if request.fallback { chain } else { &chain[..1] };
        let answered = self.first_of(chain, Question::prompt(request, &messages), request.timeout, sink).await?;
        let Answered { value, usage, by, repaired, .. } = answered;
        // Where there is a schema and there are no tools, there is a value.
        Ok(Generation { value: value.unwrap_or_default(), usage, by, repaired })
    }

    async fn converse(&self, request: &ConverseRequest, sink: Option<&mut dyn TokenSink>) -> Result<Reply, ModelError> {
        let chain = self.chain(&request.model)?;
        let answered = self.first_of(chain, Question::conversation(request), request.timeout, sink).await?;
        let Answered { content, value, tool_calls, usage, by, .. } = answered;
        Ok(Reply { content, value, tool_calls, usage, by })
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
