//! `nexus executions`.

use super::{
    args::Executions,
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{ExecutionList, ExecutionView};

pub(super) async fn run(command: &Executions, output: Output) -> Result<(), Failure> {
    match command {
        Executions::List { app, operation, path, before, limit, connection } => {
            let client = Client::new(connection)?;
            let asked = [("app", app), ("operation", operation), ("path", path), ("before", before)];
            let filters =
                asked.iter().filter_map(|(name, value)| Some(format!("&{name}={}", segment(value.as_deref()?))));
            let path = format!("/v1/executions?limit={limit}{}", filters.collect::<String>());
            let list: ExecutionList = client.get(&path).await?;
            if output.json { output.value(&list) } else { show_list(&list, output) }
        }
        Executions::Show { id, connection } => {
            let execution: ExecutionView =
                Client::new(connection)?.get(&format!("/v1/executions/{}", segment(id))).await?;
            output.value(&execution);
        }
    }
    Ok(())
}

fn show_list(list: &ExecutionList, output: Output) {
    let rows: Vec<_> = list.executions.iter().map(row).collect();
    output.table(&["ID", "OPERATION", "PATH", "TIME", "OUTCOME"], &rows);
    if let Some(next) = &list.next {
        output.note(&format!("more with --before {next}"));
    }
}

fn row(execution: &ExecutionView) -> Vec<String> {
    let path = match &execution.fallback {
        Some(reason) => format!("{} (after {reason})", execution.path),
        None => execution.path.clone(),
    };
    vec![
        execution.id.clone(),
        format!("{}/{}", execution.app, execution.operation),
        path,
        super::call::micros(execution.duration_us),
        execution.error.clone().unwrap_or_else(|| "ok".to_owned()),
    ]
}
