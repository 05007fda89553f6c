//! `nexus apps budget`.

use super::{
    args::Connection,
    client::{Client, segment},
    failure::Failure,
    key::stamp,
    output::Output,
};
use crate::BudgetView;

pub(super) async fn run(app: &str, connection: &Connection, output: Output) -> Result<(), Failure> {
    let budget: BudgetView = Client::new(connection)?.get(&format!("/v1/apps/{}/budget", segment(app))).await?;
    if output.json {
        output.value(&budget);
        return Ok(());
    }
    let tokens = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let money = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), usd);
    let rows = [
        vec![
            "tokens".to_owned(),
            budget.tokens_today.to_string(),
            tokens(budget.tokens_per_day),
            tokens(budget.tokens_per_execution),
        ],
        vec![
            "cost".to_owned(),
            usd(budget.cost_today_nano_usd),
            money(budget.cost_per_day_nano_usd),
            money(budget.cost_per_execution_nano_usd),
        ],
    ];
    output.table(&["", "TODAY", "A DAY", "AN EXECUTION"], &rows);
    output.note(&format!("A new day begins at {}", stamp(budget.resets_at)));
    Ok(())
}

fn usd(nano: u64) -> String {
    nexus_model::NanoUsd(nano).to_string()
}
