//! `nexus model`.

use std::{sync::Arc, time::Duration};

use nexus_llm::{KeyReference, LanguageModels, ModelSettings, PriceList, Probe};
use nexus_model::ModelErrorKind;
use nexus_signals::Redactor;
use serde_json::{Value, json};

use super::{
    args::{Model, ModelTest},
    failure::Failure,
    output::Output,
};
use crate::{
    environment::Environment,
    secrets::AllSecrets,
    settings::{Settings, Sources, duration},
};

pub(super) async fn run(
    command: &Model,
    output: Output,
    environment: Environment,
    redactor: &Redactor,
) -> Result<(), Failure> {
    match command {
        Model::List { config } => {
            let settings = load(config.as_ref(), &environment)?;
            list(&settings, output, &AllSecrets::of_operator(&settings.secrets_dir, &environment, redactor));
            Ok(())
        }
        Model::Test(test) => self::test(test, output, &environment, redactor).await,
    }
}

/// The settings as a server would have them.
pub(super) fn load(config: Option<&std::path::PathBuf>, environment: &Environment) -> Result<Settings, Failure> {
    Ok(Sources { file: config.cloned(), flags: Vec::new() }.load(environment)?.0)
}

/// The models of the settings, with these keys.
pub(super) fn models(settings: &Settings, secrets: AllSecrets) -> Result<LanguageModels, Failure> {
    let keys = Arc::new(move |reference: &_| secrets.resolve(reference));
    LanguageModels::new(settings.models.clone(), keys).map_err(|error| Failure::Start(error.into()))
}

fn list(settings: &Settings, output: Output, secrets: &AllSecrets) {
    let prices = PriceList::bundled();
    let rows: Vec<Value> =
        settings.models.iter().map(|(alias, model)| shown(alias, model, &prices, key(model, secrets))).collect();
    if output.json {
        return output.value(&json!({ "models": rows }));
    }
    if rows.is_empty() {
        return output.note("no model is set: add `models` to the settings, or name them with --config");
    }
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or("-").to_owned();
    let table: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let price = &row["price"];
            let usd = match (price["input_usd_per_million"].as_f64(), price["output_usd_per_million"].as_f64()) {
                (Some(input), Some(once)) => format!("{input} / {once}"),
                _ => "not known".to_owned(),
            };
            let as_of = price["as_of"].as_str().unwrap_or("-").to_owned();
            vec![text(row, "alias"), text(row, "provider"), text(row, "model"), usd, as_of, text(row, "key")]
        })
        .collect();
    output.table(&["ALIAS", "PROVIDER", "MODEL", "USD PER MILLION, IN / OUT", "AS OF", "KEY"], &table);
}

/// Whether a model's key is there. What the server's store holds cannot be seen from here.
fn key(model: &ModelSettings, secrets: &AllSecrets) -> &'static str {
    match &model.key {
        None => "none",
        Some(reference) if secrets.resolve(reference).is_some() => "set",
        Some(KeyReference::Secret(_)) => "in the store, if anywhere",
        Some(_) => "missing",
    }
}

/// A model as it is listed; of its key only whether it is there.
fn shown(alias: &str, model: &ModelSettings, prices: &PriceList, key: &'static str) -> Value {
    let price = prices.of(model).map(|priced| {
        json!({
            "input_usd_per_million": priced.price.input_usd_per_million,
            "output_usd_per_million": priced.price.output_usd_per_million,
            "cached_input_usd_per_million": priced.price.cached_input_usd_per_million,
            "cache_write_usd_per_million": priced.price.cache_write_usd_per_million,
            "as_of": priced.price.as_of.to_string(),
            "source": priced.source,
        })
    });
    json!({
        "alias": alias,
        "provider": model.provider.as_str(),
        "endpoint": model.endpoint.to_string(),
        "model": model.model,
        "fallback": model.fallback,
        "price": price,
        "key": key,
    })
}

async fn test(test: &ModelTest, output: Output, environment: &Environment, redactor: &Redactor) -> Result<(), Failure> {
    let timeout = duration::parse(&test.timeout).map_err(|message| Failure::usage(message, ""))?;
    let settings = load(test.config.as_ref(), environment)?;
    let secrets = AllSecrets::of_operator(&settings.secrets_dir, environment, redactor);
    let models = models(&settings, secrets.clone())?;
    let probe = models.probe(&test.alias, timeout).await;
    if let Some(error) = probe.error.as_ref().filter(|error| error.kind == ModelErrorKind::UnknownModel) {
        return Err(Failure::usage(format!("there is no model `{}` in the settings", test.alias), &error.hint));
    }
    let mut row = match settings.models.get(&test.alias) {
        Some(model) => shown(&test.alias, model, &PriceList::bundled(), key(model, &secrets)),
        None => json!({}),
    };
    add(&mut row, &probe);
    if output.json {
        output.value(&row);
    } else {
        show(&row, output);
    }
    if row["ok"] == true { Ok(()) } else { Err(Failure::Faults) }
}

fn add(row: &mut Value, probe: &Probe) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    for (field, value) in [
        ("ok", json!(probe.error.is_none())),
        ("answered_by", json!(probe.answered)),
        ("reachable", json!(probe.reachable)),
        ("key_accepted", json!(probe.key)),
        ("schema", json!(probe.schema)),
        ("streaming", json!(probe.streaming)),
        ("first_piece_ms", json!(probe.first_piece.map(millis))),
        ("latency_ms", json!(millis(probe.latency))),
        ("input_tokens", json!(probe.usage.input_tokens)),
        ("output_tokens", json!(probe.usage.output_tokens)),
        ("cost_nano_usd", json!(probe.usage.cost.map(|cost| cost.0))),
    ] {
        row[field] = value;
    }
    if let Some(error) = &probe.error {
        row["error"] = json!({ "code": error.kind.code(), "detail": error.to_string(), "hint": error.hint });
    }
}

fn show(row: &Value, output: Output) {
    let told = |field: &str, yes: &str, no: &str| match row[field].as_bool() {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => "not seen".to_owned(),
    };
    let millis = |field: &str| row[field].as_u64().map_or_else(|| "-".to_owned(), |time| format!("{time} ms"));
    let cost = row["cost_nano_usd"].as_u64();
    let lines = [
        ("model", format!("{} at {}", row["model"].as_str().unwrap_or("-"), row["endpoint"].as_str().unwrap_or("-"))),
        ("reachable", told("reachable", "yes", "no")),
        (
            "key",
            match row["key"].as_str() {
                Some("none") => "none is set".to_owned(),
                Some("missing") => "missing".to_owned(),
                _ => told("key_accepted", "accepted", "refused"),
            },
        ),
        ("schema", told("schema", "kept", "not kept at once")),
        ("streaming", told("streaming", "yes", "the answer came in one piece")),
        ("latency", format!("{}, first piece after {}", millis("latency_ms"), millis("first_piece_ms"))),
        ("tokens", format!("{} in, {} out", row["input_tokens"], row["output_tokens"])),
        ("cost", cost.map_or_else(|| "not known".to_owned(), |cost| nexus_model::NanoUsd(cost).to_string())),
    ];
    for (name, value) in lines {
        output.line(&format!("{name:<10} {value}"));
    }
    if let Some(detail) = row["error"]["detail"].as_str() {
        output.note(&format!("\n{detail}\nhelp: {}", row["error"]["hint"].as_str().unwrap_or_default()));
    }
}
