//! `nexus jit`.

use serde_json::Value;

use super::{
    args::{Jit, Target},
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{AppDetailView, OptimizationView};

pub(super) async fn run(command: &Jit, output: Output) -> Result<(), Failure> {
    match command {
        Jit::Status { app, operation, connection } => {
            let client = Client::new(connection)?;
            let statuses = match operation {
                Some(operation) => vec![status(&client, app, operation).await?],
                None => all(&client, app).await?,
            };
            if output.json { output.value(&statuses) } else { show(&statuses, output) }
        }
        Jit::Compile(target) => change(target, "compile", output).await?,
        Jit::Promote(target) => change(target, "promote", output).await?,
        Jit::Demote(target) => change(target, "demote", output).await?,
    }
    Ok(())
}

async fn status(client: &Client, app: &str, operation: &str) -> Result<OptimizationView, Failure> {
    client.get(&format!("/v1/apps/{}/operations/{}/optimization", segment(app), segment(operation))).await
}

async fn all(client: &Client, app: &str) -> Result<Vec<OptimizationView>, Failure> {
    let detail: AppDetailView = client.get(&format!("/v1/apps/{}", segment(app))).await?;
    let mut statuses = Vec::new();
    for operation in &detail.operation_details {
        statuses.push(status(client, app, &operation.name).await?);
    }
    Ok(statuses)
}

async fn change(target: &Target, verb: &str, output: Output) -> Result<(), Failure> {
    let client = Client::new(&target.connection)?;
    let path = format!("/v1/apps/{}/operations/{}/{verb}", segment(&target.app), segment(&target.operation));
    let status: OptimizationView = client.post(&path, &Value::Null).await?;
    if output.json {
        output.value(&status);
    } else {
        show(std::slice::from_ref(&status), output);
    }
    Ok(())
}

fn show(statuses: &[OptimizationView], output: Output) {
    let rows: Vec<_> = statuses.iter().map(row).collect();
    output.table(&["OPERATION", "STATE", "INPUTS", "CODE", "SEALED SET", "LIVE", "REFUSED"], &rows);
}

fn row(status: &OptimizationView) -> Vec<String> {
    let evidence = status.evidence.as_ref();
    let gate = evidence.and_then(|evidence| evidence.gate.as_ref());
    let refused = evidence.and_then(|evidence| evidence.refused.as_ref());
    vec![
        status.operation.clone(),
        status.state.clone(),
        format!("{} of {}", status.distinct_inputs, status.needed_inputs),
        if status.code == 0 { "-".to_owned() } else { format!("v{}", status.code) },
        gate.map_or_else(
            || "-".to_owned(),
            |gate| format!("{}/{} agree, covers {:.0} %", gate.agreed, gate.handled, gate.coverage * 100.0),
        ),
        if status.live.n == 0 { "-".to_owned() } else { format!("{}/{}", status.live.agreed, status.live.n) },
        refused.map_or_else(|| "-".to_owned(), |refused| format!("{}: {}", refused.reason, refused.detail)),
    ]
}
