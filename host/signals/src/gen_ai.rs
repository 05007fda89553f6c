//! Requests to the providers of models, by `OpenTelemetry`'s conventions for generative AI.
//!
//! Whoever asks a provider opens one span for each request (`nexus_model::MODEL_SPAN`), with attributes by the same
//! conventions. What is recorded on it is read here and counted when it closes, whether or not anything is exported.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use nexus_model::{MODEL_SPAN, SPANS};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, filter_fn},
    layer::Context,
    registry::LookupSpan,
};

use crate::{
    HostMetrics, Redactor,
    families::{Buckets, Family, LabelValue, Labels, Samples, Unit},
};

/// Upper bounds of buckets, as the conventions have them.
const TOKEN_BOUNDS: Bounds = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const SECOND_BOUNDS: Bounds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// Models that are asked for, each with operation, provider and server, which are told apart; more count as `other`.
const MAX_ASKED: usize = 256;
/// Names in the answers to one that is asked for, and kinds of its errors, which are told apart; more count as `other`.
/// A provider that makes up a name for each answer takes no room from other providers.
const MAX_OUTCOMES: usize = 16;
const OTHER: &str = "other";

type Bounds = [f64; 14];

/// How many values lie above the bound before and not above each of the [`Bounds`].
#[derive(Debug, Clone, Default)]
struct Histogram {
    below: [u64; 14],
    total: u64,
    sum: f64,
}

impl Histogram {
    fn record(&mut self, value: f64, bounds: &Bounds) {
        if let Some(bucket) = bounds.iter().position(|bound| value <= *bound) {
            self.below[bucket] += 1;
        }
        self.total += 1;
        self.sum += value;
    }

    fn buckets(&self, bounds: &Bounds) -> Buckets {
        let below = bounds.iter().copied().zip(self.below).collect();
        Buckets { below, total: self.total, sum: self.sum }
    }
}

/// What a provider was asked for, and where. All of it comes from the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    operation: String,
    provider: String,
    model: String,
    address: String,
    port: Option<u64>,
}

impl Asked {
    fn other() -> Self {
        let other = || OTHER.to_owned();
        Self { operation: other(), provider: other(), model: other(), address: other(), port: None }
    }

    fn labels(&self, answered: Option<&str>) -> Labels {
        let texts = [
            ("gen_ai.operation.name", self.operation.as_str()),
            ("gen_ai.provider.name", &self.provider),
            ("gen_ai.request.model", &self.model),
            ("gen_ai.response.model", answered.unwrap_or_default()),
            ("server.address", &self.address),
        ];
        // What is not known has no attribute.
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
        let port = self.port.map(|port| ("server.port", LabelValue::Whole(port)));
        texts.map(|(name, text)| (name, text.into())).chain(port).collect()
    }
}

/// How it ended: which model the provider says has answered, if it does, or a stable word for what went wrong.
type Outcome = Result<Option<String>, String>;

#[derive(Debug, Default)]
struct Counted {
    seconds: BTreeMap<Option<String>, Histogram>,
    failed: BTreeMap<String, Histogram>,
    tokens: BTreeMap<Option<String>, Tokens>,
}

#[derive(Debug, Default)]
struct Tokens {
    input: Histogram,
    output: Histogram,
}

/// The requests of this process to providers.
#[derive(Debug, Default)]
pub(crate) struct ModelRequests(Mutex<BTreeMap<Asked, Counted>>);

impl ModelRequests {
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens stay far below 2^52")]
    fn record(&self, asked: Asked, outcome: Outcome, seconds: f64, tokens: [Option<u64>; 2]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = place(&mut all, asked, Asked::other, MAX_ASKED);
        let other = || Some(OTHER.to_owned());
        let answered = match outcome {
            Ok(answered) => {
                let histogram = place(&mut counted.seconds, answered.clone(), other, MAX_OUTCOMES);
                histogram.record(seconds, &SECOND_BOUNDS);
                answered
            }
            Err(error) => {
                let histogram = place(&mut counted.failed, error, || OTHER.to_owned(), MAX_OUTCOMES);
                histogram.record(seconds, &SECOND_BOUNDS);
                None
            }
        };
        if tokens == [None, None] {
            return;
        }
        let used = place(&mut counted.tokens, answered, other, MAX_OUTCOMES);
        for (histogram, count) in [&mut used.input, &mut used.output].into_iter().zip(tokens) {
            if let Some(count) = count {
                histogram.record(count as f64, &TOKEN_BOUNDS);
            }
        }
    }

    pub(crate) fn families(&self) -> [Family; 2] {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut seconds, mut tokens) = (Vec::new(), Vec::new());
        for (asked, counted) in &*all {
            for (answered, histogram) in &counted.seconds {
                seconds.push((asked.labels(answered.as_deref()), histogram.buckets(&SECOND_BOUNDS)));
            }
            for (error, histogram) in &counted.failed {
                let mut labels = asked.labels(None);
                labels.push(("error.type", error.as_str().into()));
                seconds.push((labels, histogram.buckets(&SECOND_BOUNDS)));
            }
            for (answered, used) in &counted.tokens {
                for (kind, histogram) in [("input", &used.input), ("output", &used.output)] {
                    let mut labels = asked.labels(answered.as_deref());
                    labels.push(("gen_ai.token.type", kind.into()));
                    tokens.push((labels, histogram.buckets(&TOKEN_BOUNDS)));
                }
            }
        }
        [
            Family {
                name: "gen_ai.client.token.usage",
                help: "Tokens of each request to a provider",
                unit: Some(Unit::Tokens),
                samples: Samples::Histogram(tokens),
            },
            Family {
                name: "gen_ai.client.operation.duration",
                help: "Time from each request to a provider to the end of its answer",
                unit: Some(Unit::Seconds),
                samples: Samples::Histogram(seconds),
            },
        ]
    }
}

/// The place of a key, or that of `other` when there are `limit` keys already.
fn place<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K, other: impl Fn() -> K, limit: usize) -> &mut V {
    let key = if map.len() < limit || map.contains_key(&key) { key } else { other() };
    map.entry(key).or_default()
}

/// Counts each request of which a span tells. Looks at no other span.
pub(crate) fn layer<S>(metrics: Arc<HostMetrics>, redactor: Redactor) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let ours = filter_fn(|metadata| metadata.target() == SPANS && metadata.name() == MODEL_SPAN);
    ModelLayer { metrics, redactor }.with_filter(ours.with_max_level_hint(LevelFilter::TRACE))
}

struct ModelLayer {
    metrics: Arc<HostMetrics>,
    redactor: Redactor,
}

impl<S> Layer<S> for ModelLayer
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, spans: Context<'_, S>) {
        let mut request = Request::new();
        attributes.record(&mut request);
        if let Some(span) = spans.span(id) {
            span.extensions_mut().insert(request);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, spans: Context<'_, S>) {
        if let Some(span) = spans.span(id)
            && let Some(request) = span.extensions_mut().get_mut::<Request>()
        {
            values.record(request);
        }
    }

    fn on_close(&self, id: Id, spans: Context<'_, S>) {
        let request = spans.span(&id).and_then(|span| span.extensions_mut().remove::<Request>());
        let Some(Request { begun, asked, answered, error, tokens }) = request else { return };
        // The one text that a stranger chooses.
        let answered = answered.map(|name| self.redactor.redact(&name).into_owned());
        let outcome = error.map_or(Ok(answered), Err);
        self.metrics.model_requests().record(asked, outcome, begun.elapsed().as_secs_f64(), tokens);
    }
}

/// What is known of a request while it goes on.
struct Request {
    begun: Instant,
    asked: Asked,
    answered: Option<String>,
    error: Option<String>,
    /// Of the prompt, of the answer.
    tokens: [Option<u64>; 2],
}

impl Request {
    fn new() -> Self {
        Self { begun: Instant::now(), asked: Asked::default(), answered: None, error: None, tokens: [None; 2] }
    }
}

impl Visit for Request {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "server.port" => self.asked.port = Some(value),
            "gen_ai.usage.input_tokens" => self.tokens[0] = Some(value),
            "gen_ai.usage.output_tokens" => self.tokens[1] = Some(value),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = match field.name() {
            "gen_ai.operation.name" => &mut self.asked.operation,
            "gen_ai.provider.name" => &mut self.asked.provider,
            "gen_ai.request.model" => &mut self.asked.model,
            "server.address" => &mut self.asked.address,
            "gen_ai.response.model" => self.answered.get_or_insert_default(),
            "error.type" => self.error.get_or_insert_default(),
            _ => return,
        };
        value.clone_into(text);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
