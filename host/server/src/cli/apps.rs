//! `nexus apps`.

use super::{
    args::{App, Apps},
    client::{Client, segment},
    definitions,
    failure::Failure,
    output::Output,
};
use crate::{AppDetailView, AppList};

pub(super) async fn run(command: &Apps, output: Output) -> Result<(), Failure> {
    match command {
        Apps::List { connection } => {
            let list: AppList = Client::new(connection)?.get("/v1/apps").await?;
            if output.json { output.value(&list) } else { show_list(&list, output) }
        }
        Apps::Budget { app, connection } => super::budget::run(app, connection, output).await?,
        Apps::Show(App { name, connection }) => {
            let app: AppDetailView = Client::new(connection)?.get(&format!("/v1/apps/{}", segment(name))).await?;
            if output.json { output.value(&app) } else { show(&app, output) }
        }
        command => return definitions::run(command, output).await,
    }
    Ok(())
}

fn show_list(list: &AppList, output: Output) {
    let rows: Vec<_> = list
        .apps
        .iter()
        .map(|app| vec![app.name.clone(), app.status.clone(), app.operations.join(" "), app.description.clone()])
        .collect();
    output.table(&["NAME", "STATUS", "OPERATIONS", "DESCRIPTION"], &rows);
}

fn show(app: &AppDetailView, output: Output) {
    output.line(&format!("{}  {}  revision {}", app.summary.name, app.summary.status, app.summary.revision));
    if !app.summary.description.is_empty() {
        output.line(&app.summary.description);
    }
    if let Some(reason) = &app.summary.reason {
        output.line(reason);
    }
    output.line(&format!("time-out {} ms, {} calls at a time\n", app.timeout_ms, app.concurrency));
    let rows: Vec<_> = app
        .operation_details
        .iter()
        .map(|operation| {
            let code = operation.active_code.map_or_else(|| "-".to_owned(), |code| format!("v{code}"));
            let optimize = format!("{} at {}", operation.optimize.mode, operation.optimize.agreement);
            vec![
                operation.name.clone(),
                operation.implementation.clone(),
                optimize,
                code,
                operation.description.clone(),
            ]
        })
        .collect();
    output.table(&["OPERATION", "BY", "OPTIMIZE", "CODE", "DESCRIPTION"], &rows);
    for fault in &app.summary.faults {
        output.line(&format!("{}:{}:{}: {}", fault.file, fault.line, fault.column, fault.message));
    }
}
