//! `GET /v1/metrics/query`: what happened to operations within the last day.

use axum::{Json, extract::State};
use nexus_model::{AppName, OperationName};
use nexus_signals::{Metric, Series, Span, series};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::{
    api::{Api, Caller, Verb},
    error,
    logs::time,
    params::{self, Asked},
    problem::Problem,
};
use crate::settings::duration;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60;
/// Points that a series has when no step is asked for, at the most.
const POINTS: u64 = 120;

/// One value of a series.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PointView {
    /// When its step begins, in seconds since 1970-01-01 00:00 UTC.
    #[schema(example = 1_780_000_020)]
    pub time: u64,
    /// A count, a sum or a quantile over the whole step, in the unit that the metric's name says.
    pub value: u64,
}

/// The values of one metric of one operation, oldest first. Steps where nothing happened are left out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SeriesView {
    /// The metric.
    #[schema(example = "calls")]
    pub metric: String,
    /// The application.
    pub app: String,
    /// The operation.
    pub operation: String,
    /// `component` or `model`, for metrics that are told apart by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The error's code, or why the component passed calls on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The values.
    pub points: Vec<PointView>,
}

impl From<Series> for SeriesView {
    fn from(series: Series) -> Self {
        let points = series.points.into_iter();
        Self {
            metric: series.metric.as_str().to_owned(),
            app: series.operation.app.to_string(),
            operation: series.operation.operation.to_string(),
            path: series.path.map(|path| path.as_str().to_owned()),
            reason: series.reason,
            points: points.map(|point| PointView { time: point.minute * MINUTE, value: point.value }).collect(),
        }
    }
}

/// Series of metrics.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MetricList {
    /// The first second, and the second after the last, since 1970-01-01 00:00 UTC: whole minutes.
    pub from: u64,
    /// The end.
    pub to: u64,
    /// Seconds of one point.
    pub step: u64,
    /// The series, by operation and metric.
    pub series: Vec<SeriesView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query {
    /// Only of this application; of all that the key may read if left out.
    app: Option<String>,
    /// Only of operations of this name.
    operation: Option<String>,
    /// Names with commas between, all if left out: `calls`, `errors`, `fallbacks`, `latency_p50_us`, `latency_p90_us`,
    /// `latency_p99_us`, `input_tokens`, `output_tokens`, `cost_nano_usd`, `fuel`, `audits_agreed`, `audits_disagreed`.
    metric: Option<String>,
    /// From this time (RFC 3339), within the last day; an hour ago if left out.
    from: Option<String>,
    /// To this time; now if left out.
    to: Option<String>,
    /// The length of a point, as `1m` or `2h`, or `all` for one point; 120 points or less if left out.
    step: Option<String>,
}

/// Asks for metrics of the last day
///
/// A day is kept, minute by minute, also over a restart. Hosts that share a store are added up. Quantiles are exact to 1/16 also over long steps. An answer has at most
/// 20,000 points.
#[utoipa::path(
    get, path = "/v1/metrics/query", tag = "metrics", operation_id = "query_metrics",
    params(Query),
    responses(
        (status = 200, body = MetricList, description = "The series"),
        (status = 400, description = "A parameter is not valid, or there would be too many points", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn query(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<Query>,
) -> Result<Json<MetricList>, Problem> {
    if let Some(app) = &asked.app {
        api.permit(&caller, Verb::Read, app)?;
    }
    let (metrics, now) = (metrics(asked.metric.as_deref())?, OffsetDateTime::now_utc());
    let span = span(time("from", asked.from)?, time("to", asked.to)?, asked.step.as_deref(), now)?;
    let app: Option<AppName> = params::parsed(asked.app.as_deref(), "`app` is no name")?;
    let operation: Option<OperationName> = params::parsed(asked.operation.as_deref(), "`operation` is no name")?;
    let readable = super::executions::readable(&api, &caller)?;
    let operations = api.metrics.operations().into_iter().filter(|reference| {
        readable.contains(&reference.app)
            && app.as_ref().is_none_or(|app| *app == reference.app)
            && operation.as_ref().is_none_or(|operation| *operation == reference.operation)
    });
    let mut windows = Vec::new();
    for reference in operations {
        let found = api.core.windows(&reference, span.from, now).await?;
        windows.push((reference, found));
    }
    let found = series(&windows, &metrics, span).map_err(|error| error::invalid_parameter(error.to_string()))?;
    Ok(Json(MetricList {
        from: span.from * MINUTE,
        to: span.to * MINUTE,
        step: span.step * MINUTE,
        series: found.into_iter().map(Into::into).collect(),
    }))
}

fn metrics(asked: Option<&str>) -> Result<Vec<Metric>, Problem> {
    let Some(names) = asked else { return Ok(Metric::ALL.to_vec()) };
    let metrics: Result<Vec<Metric>, _> = names.split(',').map(|name| name.trim().parse()).collect();
    let mut metrics =
        metrics.map_err(|error: nexus_signals::MetricError| error::invalid_parameter(error.to_string()))?;
    metrics.sort_unstable();
    metrics.dedup();
    Ok(metrics)
}

/// Whole minutes, the one of `to` included.
fn span(
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    step: Option<&str>,
    now: OffsetDateTime,
) -> Result<Span, Problem> {
    let minute = |time: OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap_or(0) / MINUTE;
    let to = minute(to.unwrap_or(now)).min(minute(now)) + 1;
    let from = from.map_or(to.saturating_sub(60), minute).max((minute(now) + 1).saturating_sub(DAY));
    if from >= to {
        return Err(error::invalid_parameter("`from` must be before `to`, and within the last day"));
    }
    let step = match step {
        None => (to - from).div_ceil(POINTS),
        Some("all") => to - from,
        Some(text) => {
            let length = duration::parse(text).map_err(error::invalid_parameter)?;
            if length.as_secs() == 0 || length.as_secs() % MINUTE != 0 {
                return Err(error::invalid_parameter("`step` is a whole number of minutes, as `1m` or `2h`, or `all`"));
            }
            length.as_secs() / MINUTE
        }
    };
    Ok(Span { from, to, step })
}

#[cfg(test)]
mod tests {
    use nexus_signals::Span;
    use time::macros::datetime;

    use super::span;

    #[test]
    fn a_span_is_whole_minutes_within_the_last_day() {
        let now = datetime!(1970-01-03 00:00:30 UTC);
        let of = |from, to, step| span(from, to, step, now).map_err(|problem| problem.detail);
        assert_eq!(of(None, None, None), Ok(Span { from: 2_821, to: 2_881, step: 1 }));
        let noon = Some(datetime!(1970-01-02 12:00:01 UTC));
        assert_eq!(of(noon, None, None), Ok(Span { from: 2_160, to: 2_881, step: 7 }));
        assert_eq!(of(None, noon, Some("all")), Ok(Span { from: 2_101, to: 2_161, step: 60 }));
        let long_ago = Some(datetime!(1970-01-01 00:00 UTC));
        assert_eq!(of(long_ago, None, Some("2h")), Ok(Span { from: 1_441, to: 2_881, step: 120 }));
        assert!(of(None, long_ago, None).is_err());
        for step in ["0s", "90s", "1", "often"] {
            assert!(of(None, None, Some(step)).is_err(), "{step}");
        }
    }
}
