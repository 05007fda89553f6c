//! The models: their endpoints answer, and, where it is wished, the models do.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use nexus_llm::{KeyReference, LanguageModels, ModelSettings, Probe};

use super::{Finding, network::Web};
use crate::{secrets::AllSecrets, settings::Settings};

/// Asks every endpoint for an answer of any kind, without a key and without cost.
pub(super) async fn reach(settings: &Settings, web: &Web) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.models.is_empty() {
        let mend = "add `models` to the settings; operations with a prompt need one";
        findings.push(Finding::warn("models", "no model is set", mend));
    } else if !settings.models.contains_key(&settings.oracle.coder_model) {
        let found = format!("there is no model `{}`, so no code is written", settings.oracle.coder_model);
        findings.push(Finding::warn("models", found, "add it to `models`, or name another in `oracle.coder_model`"));
    }
    let each = settings.models.iter().map(|(alias, model)| reach_one(alias, model, web));
    findings.extend(join_all(each).await);
    findings
}

async fn reach_one(alias: &str, model: &ModelSettings, web: &Web) -> Finding {
    let (check, endpoint) = (format!("model {alias}"), model.endpoint.to_string());
    match web.ask(&endpoint).await {
        Ok(_) => Finding::ok(check, format!("{endpoint} answers")),
        Err(reason) => {
            let mend =
                format!("start what listens there, or correct `models.{alias}.endpoint`, the proxy or the network");
            Finding::fail(check, format!("{endpoint} is out of reach: {reason}"), mend)
        }
    }
}

/// Asks every model one tiny question, which may cost money.
pub(super) async fn ask(settings: &Settings, secrets: AllSecrets, patience: Duration) -> Vec<Finding> {
    let keys = Arc::new(move |reference: &KeyReference| secrets.resolve(reference));
    let models = match LanguageModels::new(settings.models.clone(), keys) {
        Ok(models) => models,
        Err(error) => return vec![Finding::fail("models", error.to_string(), "correct `models`")],
    };
    let each = settings.models.keys().map(|alias| async {
        let probe = models.probe(alias, patience).await;
        told(alias, probe)
    });
    join_all(each).await
}

fn told(alias: &str, probe: Probe) -> Finding {
    let check = format!("model {alias}, asked");
    match probe.error {
        None => {
            let cost = probe.usage.cost.map_or_else(|| "cost not known".to_owned(), |cost| cost.to_string());
            Finding::ok(check, format!("answers as asked after {} ms, {cost}", probe.latency.as_millis()))
        }
        Some(error) => {
            let hint = if error.hint.is_empty() { format!("nexus model test {alias}") } else { error.hint.clone() };
            Finding::fail(check, error.to_string(), hint)
        }
    }
}
