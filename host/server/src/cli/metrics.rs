//! `nexus metrics`.

use std::collections::BTreeMap;

use super::{
    args::Metrics,
    call::micros,
    client::{Client, segment},
    failure::Failure,
    logs::moment,
    output::Output,
};
use crate::MetricList;

pub(super) async fn run(metrics: &Metrics, output: Output) -> Result<(), Failure> {
    let mut asked = vec![("step", metrics.step.clone().unwrap_or_else(|| "all".to_owned()))];
    let names = [("app", &metrics.app), ("operation", &metrics.operation), ("metric", &metrics.metric)];
    asked.extend(names.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    asked.push(("from", moment("since", &metrics.since)?));
    if let Some(until) = &metrics.until {
        asked.push(("to", moment("until", until)?));
    }
    let asked: Vec<_> = asked.iter().map(|(name, value)| format!("{name}={}", segment(value))).collect();
    let asked = asked.join("&");
    let list: MetricList = Client::new(&metrics.connection)?.get(&format!("/v1/metrics/query?{asked}")).await?;
    if output.json {
        output.value(&list);
    } else if metrics.step.is_some() || metrics.metric.is_some() {
        show_points(&list, output);
    } else {
        output.table(&HEADINGS, &summary(&list));
    }
    Ok(())
}

const HEADINGS: [&str; 10] =
    ["OPERATION", "PATH", "CALLS", "ERRORS", "P50", "P99", "TOKENS", "COST", "FUEL", "PASSED ON"];

/// A row for each operation and path.
fn summary(list: &MetricList) -> Vec<Vec<String>> {
    let mut rows: BTreeMap<(String, &str), BTreeMap<&str, u64>> = BTreeMap::new();
    let mut reasons: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
    for series in &list.series {
        let value: u64 = series.points.iter().map(|point| point.value).sum();
        let path = match (series.path.as_deref(), series.metric.as_str()) {
            (Some(path), _) => path,
            (None, "fallbacks" | "fuel" | "audits_agreed" | "audits_disagreed") => "component",
            (None, _) => "model",
        };
        let row = (format!("{}/{}", series.app, series.operation), path);
        if let (Some(reason), "fallbacks") = (&series.reason, series.metric.as_str()) {
            reasons.entry(row.clone()).or_default().push(format!("{value} {reason}"));
        }
        *rows.entry(row).or_default().entry(series.metric.as_str()).or_default() += value;
    }
    let shown = rows.into_iter().map(|((operation, path), values)| {
        let of = |name| values.get(name).copied().unwrap_or(0);
        let some = |value: u64| if value == 0 { "-".to_owned() } else { value.to_string() };
        let time = |name| if of(name) == 0 { "-".to_owned() } else { micros(of(name)) };
        let passed_on = reasons.get(&(operation.clone(), path)).map_or_else(|| "-".to_owned(), |all| all.join(", "));
        vec![
            operation,
            path.to_owned(),
            of("calls").to_string(),
            some(of("errors")),
            time("latency_p50_us"),
            time("latency_p99_us"),
            some(of("input_tokens") + of("output_tokens")),
            usd(of("cost_nano_usd")),
            some(of("fuel")),
            passed_on,
        ]
    });
    shown.collect()
}

fn usd(nano: u64) -> String {
    if nano == 0 {
        return "-".to_owned();
    }
    // Whole tenths of a thousandth of a dollar.
    let tenths = nano / 100_000;
    format!("${}.{:04}", tenths / 10_000, tenths % 10_000)
}

fn show_points(list: &MetricList, output: Output) {
    let mut rows = Vec::new();
    for series in &list.series {
        let about = [series.path.as_deref(), series.reason.as_deref()];
        let about = about.into_iter().flatten().collect::<Vec<_>>().join(" ");
        for point in &series.points {
            let time =
                i64::try_from(point.time).ok().and_then(|time| time::OffsetDateTime::from_unix_timestamp(time).ok());
            let time = time.and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok());
            let operation = format!("{}/{}", series.app, series.operation);
            let value = point.value.to_string();
            rows.push(vec![time.unwrap_or_default(), operation, series.metric.clone(), about.clone(), value]);
        }
    }
    output.table(&["TIME", "OPERATION", "METRIC", "OF", "VALUE"], &rows);
}

#[cfg(test)]
mod tests {
    use super::{summary, usd};
    use crate::MetricList;

    #[test]
    fn an_operation_has_a_row_for_each_path() {
        let series = |metric: &str, path: Option<&str>, reason: Option<&str>, value: u64| {
            serde_json::json!({
                "metric": metric, "app": "a", "operation": "o", "path": path, "reason": reason,
                "points": [{ "time": 0, "value": value }],
            })
        };
        let list: MetricList = serde_json::from_value(serde_json::json!({ "from": 0, "to": 60, "step": 60, "series": [
            series("calls", Some("component"), None, 7), series("calls", Some("model"), None, 3),
            series("errors", Some("model"), Some("timeout"), 1), series("errors", Some("model"), Some("busy"), 1),
            series("latency_p50_us", Some("component"), None, 80), series("input_tokens", None, None, 10),
            series("cost_nano_usd", None, None, 1_250_000), series("fuel", None, None, 99),
            series("fallbacks", None, Some("abstain"), 3),
        ]}))
        .unwrap();
        assert_eq!(
            summary(&list),
            [
                ["a/o", "component", "7", "-", "80 µs", "-", "-", "-", "99", "3 abstain"],
                ["a/o", "model", "3", "2", "-", "-", "10", "$0.0012", "-", "-"],
            ]
        );
        assert_eq!(usd(12_345_600_000), "$12.3456");
    }
}
