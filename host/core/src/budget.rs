//! What applications may spend on models: in an execution and in a day, in tokens and in money.
//!
//! Before a model is asked, an estimate of the call is added to the day's sums in the store, which all replicas share; a
//! sum above its limit takes the estimate back and refuses the call. After the answer the estimate becomes what was used.
//! The day ends at midnight UTC. So a day can be overdrawn by no more than what the calls in flight used above their
//! estimates. A call that is broken off, or whose tokens a provider does not count, counts with its estimate. Component
//! answers cost nothing.

use std::{sync::Arc, time::Duration};

use nexus_model::{
    AppName, Budget, ChatMessage, ConverseRequest, GenerateRequest, Generation, Key, ModelError, ModelProvider,
    ModelTool, NanoUsd, Reply, RuntimeStore, StoreError, TokenSink, Usage,
};
use nexus_signals::{HostMetrics, Refusal};
use time::OffsetDateTime;

/// How long a day's sums are kept.
const KEPT: Duration = Duration::from_hours(48);
/// The tokens that an answer is expected to have at the most, where the prompt does not say.
const OUTPUT_TOKENS: u64 = 1_024;
/// The tokens that a message has beside its text.
const MESSAGE_TOKENS: u64 = 16;
/// The least bytes that a token stands for, on average. Texts have three to four.
const BYTES_PER_TOKEN: u64 = 2;

/// Which limit a call would have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetLimit {
    /// `limits.cost_per_day_usd`.
    CostPerDay(NanoUsd),
    /// `limits.tokens_per_day`.
    TokensPerDay(u64),
    /// `limits.cost_per_execution_usd`.
    CostPerExecution(NanoUsd),
    /// `limits.tokens_per_execution`.
    TokensPerExecution(u64),
}

impl std::fmt::Display for BudgetLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CostPerDay(limit) => write!(f, "{limit} a day"),
            Self::TokensPerDay(limit) => write!(f, "{limit} tokens a day"),
            Self::CostPerExecution(limit) => write!(f, "{limit} an execution"),
            Self::TokensPerExecution(limit) => write!(f, "{limit} tokens an execution"),
        }
    }
}

/// A model was not asked, because the answer might have cost more than is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the application `{app}` may use {limit} of models, and this call might pass that")]
pub struct BudgetExceeded {
    /// The application.
    pub app: AppName,
    /// Its limit.
    pub limit: BudgetLimit,
    /// When the day's budget is whole again; `None` for the limit of an execution.
    pub resets_at: Option<OffsetDateTime>,
}

/// Why a model gave no answer to an application.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpendError {
    #[error(transparent)]
    Exceeded(BudgetExceeded),
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Model(ModelError),
}

impl SpendError {
    /// What was used all the same.
    pub(crate) fn usage(&self) -> Usage {
        match self {
            Self::Model(error) => error.usage,
            Self::Exceeded(_) | Self::Store(_) => Usage::NONE,
        }
    }
}

/// Who pays for a call of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payer<'a> {
    pub(crate) app: &'a AppName,
    pub(crate) budget: Budget,
    /// Whether the limits of an execution hold; they do not for audits and compilations.
    pub(crate) execution: bool,
    /// What the execution has used before.
    pub(crate) spent: Usage,
}

/// What an application used on one day, calls in flight included with their estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Tokens of prompts and answers.
    pub tokens: u64,
    /// What they cost.
    pub cost: NanoUsd,
    /// When a new day begins.
    pub resets_at: OffsetDateTime,
}

/// Asks models on the account of applications.
pub struct Budgets {
    runtime: Arc<dyn RuntimeStore>,
    models: Arc<dyn ModelProvider>,
    metrics: Arc<HostMetrics>,
}

/// What a call is expected to use, or did use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    tokens: u64,
    cost: NanoUsd,
}

impl Amount {
    /// What was used, as far as it was told; the estimate stands for what was not.
    fn settled(usage: Usage, estimate: Self) -> Self {
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        let counted = tokens > 0 || usage.cost.is_some();
        Self { tokens: if counted { tokens } else { estimate.tokens }, cost: usage.cost.unwrap_or(estimate.cost) }
    }

    /// Together with what was used before, as far as its cost is known.
    fn after(self, spent: Usage) -> Self {
        let before = spent.input_tokens.saturating_add(spent.output_tokens);
        Self { tokens: self.tokens.saturating_add(before), cost: self.cost + spent.cost.unwrap_or_default() }
    }
}

impl Budgets {
    pub(crate) fn new(
        runtime: Arc<dyn RuntimeStore>,
        models: Arc<dyn ModelProvider>,
        metrics: Arc<HostMetrics>,
    ) -> Self {
        Self { runtime, models, metrics }
    }

    /// Asks a model if the budget allows it, and counts what it used.
    pub(crate) async fn generate(
        &self,
        payer: Payer<'_>,
        request: &GenerateRequest,
        sink: Option<&mut dyn TokenSink>,
    ) -> Result<Generation, SpendError> {
        let texts = request.messages.iter().map(|message| message.content.len());
        let estimate = self.estimate(&request.model, texts, request.parameters.max_tokens);
        self.spend(payer, estimate, self.models.generate(request, sink), |generation| generation.usage).await
    }

    /// Has a model go on with a conversation if the budget allows it, and counts what it used.
    pub(crate) async fn converse(
        &self,
        payer: Payer<'_>,
        request: &ConverseRequest,
        sink: Option<&mut dyn TokenSink>,
    ) -> Result<Reply, SpendError> {
        let texts = request.messages.iter().map(size_of_message).chain(request.tools.iter().map(size_of_tool));
        let estimate = self.estimate(&request.model, texts, request.parameters.max_tokens);
        self.spend(payer, estimate, self.models.converse(request, sink), |reply| reply.usage).await
    }

    async fn spend<T>(
        &self,
        payer: Payer<'_>,
        estimate: Amount,
        asking: impl Future<Output = Result<T, ModelError>>,
        used: impl FnOnce(&T) -> Usage,
    ) -> Result<T, SpendError> {
        let now = OffsetDateTime::now_utc();
        if payer.execution
            && let Err(limit) = allows_execution(payer.budget, estimate.after(payer.spent))
        {
            return Err(self.refused(payer, limit, None));
        }
        let reserved = self.reserve(payer, estimate, now).await?;
        let answer = asking.await;
        let used = answer.as_ref().map_or_else(|error| error.usage, used);
        if let Err(error) = self.add(payer.app, now, reserved, Amount::settled(used, estimate)).await {
            tracing::warn!(app = %payer.app, %error, "what a model used could not be counted; its estimate stands");
        }
        answer.map_err(SpendError::Model)
    }

    /// What an application has used today.
    pub async fn today(&self, app: &AppName) -> Result<Spent, StoreError> {
        let now = OffsetDateTime::now_utc();
        let read = async |kind| {
            let stored = self.runtime.get(&key(app, now, kind)).await?;
            Ok::<u64, StoreError>(
                stored.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse::<i64>().ok()).map_or(0, positive),
            )
        };
        Ok(Spent { tokens: read("tokens").await?, cost: NanoUsd(read("cost").await?), resets_at: resets_at(now) })
    }

    /// What a call may use: its prompt at two bytes a token, and the answer at its bound. An estimate, and a high one.
    fn estimate(&self, model: &str, texts: impl Iterator<Item = usize>, max_tokens: Option<u32>) -> Amount {
        let input = texts.map(|bytes| (bytes as u64).div_ceil(BYTES_PER_TOKEN) + MESSAGE_TOKENS).sum::<u64>();
        let output = max_tokens.map_or(OUTPUT_TOKENS, u64::from);
        Amount { tokens: input.saturating_add(output), cost: self.models.price(model, input, output) }
    }

    /// Adds the estimate to the day, where the day has a limit.
    async fn reserve(&self, payer: Payer<'_>, estimate: Amount, now: OffsetDateTime) -> Result<Amount, SpendError> {
        let Budget { cost_per_day, tokens_per_day, .. } = payer.budget;
        if cost_per_day.is_none() && tokens_per_day.is_none() {
            return Ok(Amount::default());
        }
        let sums = self.add(payer.app, now, Amount::default(), estimate).await.map_err(SpendError::Store)?;
        match allows_day(payer.budget, sums) {
            Ok(()) => Ok(estimate),
            Err(limit) => {
                if let Err(error) = self.add(payer.app, now, estimate, Amount::default()).await {
                    tracing::warn!(app = %payer.app, %error, "an estimate could not be taken back");
                }
                Err(self.refused(payer, limit, Some(resets_at(now))))
            }
        }
    }

    /// Puts `used` in the place of `counted` in the day's sums, and gives the sums.
    async fn add(
        &self,
        app: &AppName,
        day: OffsetDateTime,
        counted: Amount,
        used: Amount,
    ) -> Result<Amount, StoreError> {
        let add = async |kind, by: i64| {
            let sum = if by == 0 { Ok(0) } else { self.runtime.increment(&key(app, day, kind), by, Some(KEPT)).await };
            sum.map(positive)
        };
        let (tokens, cost) = tokio::try_join!(
            add("tokens", difference(used.tokens, counted.tokens)),
            add("cost", difference(used.cost.0, counted.cost.0)),
        )?;
        Ok(Amount { tokens, cost: NanoUsd(cost) })
    }

    fn refused(&self, payer: Payer<'_>, limit: BudgetLimit, resets_at: Option<OffsetDateTime>) -> SpendError {
        self.metrics.record_refused(Refusal::OverBudget);
        SpendError::Exceeded(BudgetExceeded { app: payer.app.clone(), limit, resets_at })
    }
}

fn size_of_message(message: &ChatMessage) -> usize {
    match message {
        ChatMessage::System { content } | ChatMessage::User { content } | ChatMessage::Tool { content, .. } => {
            content.len()
        }
        ChatMessage::Assistant { content, tool_calls } => {
            let calls = tool_calls.iter().map(|call| call.name.len() + call.arguments.to_string().len());
            content.len() + calls.sum::<usize>()
        }
    }
}

fn size_of_tool(tool: &ModelTool) -> usize {
    tool.name.len() + tool.description.len() + tool.input.to_string().len()
}

/// Whether an execution may use so much.
fn allows_execution(budget: Budget, estimate: Amount) -> Result<(), BudgetLimit> {
    match budget {
        Budget { cost_per_execution: Some(limit), .. } if estimate.cost > limit => {
            Err(BudgetLimit::CostPerExecution(limit))
        }
        Budget { tokens_per_execution: Some(limit), .. } if estimate.tokens > limit => {
            Err(BudgetLimit::TokensPerExecution(limit))
        }
        _ => Ok(()),
    }
}

/// Whether a day may have these sums.
fn allows_day(budget: Budget, sums: Amount) -> Result<(), BudgetLimit> {
    match budget {
        Budget { cost_per_day: Some(limit), .. } if sums.cost > limit => Err(BudgetLimit::CostPerDay(limit)),
        Budget { tokens_per_day: Some(limit), .. } if sums.tokens > limit => Err(BudgetLimit::TokensPerDay(limit)),
        _ => Ok(()),
    }
}

fn difference(used: u64, counted: u64) -> i64 {
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX / 4);
    signed(used) - signed(counted)
}

fn positive(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

/// The next midnight, UTC.
fn resets_at(now: OffsetDateTime) -> OffsetDateTime {
    now.replace_time(time::Time::MIDNIGHT).saturating_add(time::Duration::DAY)
}

fn key(app: &AppName, day: OffsetDateTime, kind: &str) -> Key {
    Key::of_app(app, "budget", format!("{}:{kind}", day.date()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use nexus_model::{AnsweredBy, Message, ModelParameters, Role};
    use nexus_state::memory::MemoryRuntime;
    use serde_json::json;

    use super::*;

    /// A token costs a nano-dollar; every answer uses 100 of them.
    #[derive(Default)]
    struct Model(AtomicU64);

    #[async_trait]
    impl ModelProvider for Model {
        async fn generate(&self, _: &GenerateRequest, _: Option<&mut dyn TokenSink>) -> Result<Generation, ModelError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let usage = Usage { input_tokens: 60, output_tokens: 40, cost: Some(NanoUsd(100)), ..Usage::NONE };
            let by = AnsweredBy { alias: "m".to_owned(), model: "m".to_owned() };
            Ok(Generation { value: json!(1), usage, by, repaired: false })
        }

        async fn converse(&self, _: &ConverseRequest, _: Option<&mut dyn TokenSink>) -> Result<Reply, ModelError> {
            unimplemented!("no test of budgets converses")
        }

        fn resolve(&self, _: &str) -> Option<String> {
            None
        }

        fn price(&self, _: &str, input: u64, output: u64) -> NanoUsd {
            NanoUsd(input + output)
        }
    }

    /// A prompt of 84 bytes, 58 tokens by estimate, and an answer of at most 142: 200 together.
    fn request() -> GenerateRequest {
        GenerateRequest {
            model: "m".to_owned(),
            messages: vec![Message { role: Role::User, content: "x".repeat(84) }],
            parameters: ModelParameters { max_tokens: Some(142), ..ModelParameters::default() },
            schema: Arc::new(json!(true)),
            timeout: Duration::from_secs(1),
            fallback: false,
        }
    }

    fn budgets(runtime: &Arc<MemoryRuntime>, model: &Arc<Model>) -> Budgets {
        Budgets::new(Arc::clone(runtime) as _, Arc::clone(model) as _, Arc::default())
    }

    async fn ask(budgets: &Budgets, budget: Budget, execution: bool) -> Result<(), BudgetExceeded> {
        let app: AppName = "a".parse().unwrap();
        match budgets.generate(Payer { app: &app, budget, execution, spent: Usage::NONE }, &request(), None).await {
            Ok(_) => Ok(()),
            Err(SpendError::Exceeded(exceeded)) => Err(exceeded),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn replicas_share_a_day_and_none_passes_its_limit() {
        let (runtime, model) = (Arc::new(MemoryRuntime::default()), Arc::new(Model::default()));
        let (one, other) = (budgets(&runtime, &model), budgets(&runtime, &model));
        let budget = Budget { cost_per_day: Some(NanoUsd(1_000)), ..Budget::default() };
        let mut refused = None;
        for _ in 0..20 {
            let (first, second) = tokio::join!(ask(&one, budget, false), ask(&other, budget, false));
            refused = first.err().or(second.err()).or(refused);
        }
        let refused = refused.unwrap();
        assert_eq!(refused.limit, BudgetLimit::CostPerDay(NanoUsd(1_000)));
        assert!(refused.resets_at.unwrap() > OffsetDateTime::now_utc());
        // The ninth answer makes 900; an estimate of 200 does not fit any more.
        assert_eq!(model.0.load(Ordering::Relaxed), 9);
        let spent = one.today(&"a".parse().unwrap()).await.unwrap();
        assert_eq!((spent.tokens, spent.cost), (900, NanoUsd(900)));
        assert!(ask(&one, Budget::default(), false).await.is_ok(), "no limit, no refusal");
        assert_eq!(other.today(&"a".parse().unwrap()).await.unwrap().tokens, 1_000);
    }

    #[tokio::test]
    async fn an_execution_has_limits_that_the_background_has_not() {
        let (runtime, model) = (Arc::new(MemoryRuntime::default()), Arc::new(Model::default()));
        let budgets = budgets(&runtime, &model);
        let tokens = |limit| Budget { tokens_per_execution: Some(limit), ..Budget::default() };
        let cost = |limit| Budget { cost_per_execution: Some(NanoUsd(limit)), ..Budget::default() };
        assert!(ask(&budgets, tokens(200), true).await.is_ok());
        assert_eq!(ask(&budgets, tokens(199), true).await.unwrap_err().limit, BudgetLimit::TokensPerExecution(199));
        assert_eq!(ask(&budgets, cost(199), true).await.unwrap_err().resets_at, None);
        assert!(ask(&budgets, cost(199), false).await.is_ok());
        assert_eq!(model.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_day_ends_at_midnight() {
        let now = time::macros::datetime!(2026-12-31 23:59:59 UTC);
        assert_eq!(resets_at(now), time::macros::datetime!(2027-01-01 0:00 UTC));
        assert_eq!(key(&"a".parse().unwrap(), now, "cost").to_string(), "nexus:{a}:budget:2026-12-31:cost");
    }
}
