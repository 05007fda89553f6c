//! `nexus apps export`, `import` and what else changes applications or looks at what they were.

use std::{collections::BTreeMap, fs, io, path::Path};

use nexus_model::{AppName, FileTree};
use nexus_state::folder::read_apps;
use reqwest::{Method, header};
use serde_json::json;

use super::{
    args::{App, Apps, At, Change, Import},
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{
    AppFiles, AppView, DiffView, FileContent, HistoryView, MovedView, Problem, PutApp, RestoreBody, WrittenView,
};

pub(super) async fn run(command: &Apps, output: Output) -> Result<(), Failure> {
    match command {
        Apps::List { .. } | Apps::Show(_) | Apps::Budget { .. } => Ok(()),
        Apps::Export { app, dir, revision, connection } => {
            export(&Client::new(connection)?, app, dir, revision.as_deref(), output).await
        }
        Apps::Import(wanted) => import(wanted, output).await,
        Apps::Delete(Change { name, revision, connection }) => {
            let path = format!("/v1/apps/{}", segment(name));
            let removed =
                Client::new(connection)?.change(Method::DELETE, &path, at(revision.as_deref()), NOTHING).await?;
            told(&removed, "removed", output);
            Ok(())
        }
        Apps::History { app, before, limit, connection } => {
            let before = before.as_ref().map(|before| format!("&before={}", segment(before))).unwrap_or_default();
            let path = format!("/v1/apps/{}/history?limit={limit}{before}", segment(app));
            let history: HistoryView = Client::new(connection)?.get(&path).await?;
            if output.json {
                output.value(&history);
            } else {
                show_history(&history, output);
            }
            Ok(())
        }
        Apps::Diff { app, from, to, connection } => {
            diff(&Client::new(connection)?, app, from, to.as_deref(), output).await
        }
        Apps::Restore { to, change } => restore(change, to, output).await,
        Apps::Activate(App { name, connection }) => {
            turn(&Client::new(connection)?, name, "activate", None, output).await
        }
        Apps::Deactivate { reason, app: App { name, connection } } => {
            turn(&Client::new(connection)?, name, "deactivate", Some(reason), output).await
        }
        Apps::Push(At { connection }) => step(&Client::new(connection)?, "push", output).await,
        Apps::Fetch(At { connection }) => step(&Client::new(connection)?, "fetch", output).await,
    }
}

const NOTHING: Option<&()> = None;

/// What a change asks of the server's application.
fn at(revision: Option<&str>) -> (header::HeaderName, String) {
    (header::IF_MATCH, revision.map_or_else(|| "*".to_owned(), |revision| format!("\"{revision}\"")))
}

fn told(written: &WrittenView, what: &str, output: Output) {
    if output.json {
        output.value(written);
        return;
    }
    let revision = written.revision.as_ref().map(|revision| format!(", revision {revision}")).unwrap_or_default();
    let what = if written.changed { what } else { "unchanged" };
    output.line(&format!("{} {what}{revision}", written.app));
}

async fn export(client: &Client, app: &str, dir: &Path, revision: Option<&str>, output: Output) -> Result<(), Failure> {
    let query = revision.map(|revision| format!("?revision={}", segment(revision))).unwrap_or_default();
    let all: AppFiles = client.get(&format!("/v1/apps/{}/files{query}", segment(app))).await?;
    let count = all.files.len();
    let mut files = BTreeMap::new();
    for (path, content) in all.files {
        let bytes = content.bytes().map_err(|reason| client.foreign(format!("`{path}`: {reason}")))?;
        files.insert(path, bytes);
    }
    write_folder(dir, &files)?;
    if output.json {
        output.value(&json!({ "app": app, "revision": all.revision, "dir": dir, "files": count }));
    } else {
        output.line(&format!("{app}, revision {}: {count} files in {}", all.revision, dir.display()));
    }
    Ok(())
}

/// Writes files below a folder that is empty or not there.
pub(super) fn write_folder(dir: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<(), Failure> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Failure::Unwritable { path, source }
    };
    fs::create_dir_all(dir).map_err(unwritable(dir))?;
    if fs::read_dir(dir).map_err(unwritable(dir))?.next().is_some() {
        let message = format!("`{}` is not empty", dir.display());
        return Err(Failure::usage(message, "name a new folder; what is there is never overwritten"));
    }
    for (path, bytes) in files {
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
        if !path.split('/').all(plain) {
            return Err(Failure::usage(format!("`{path}` leads out of the folder"), "nothing of this name is written"));
        }
        let file = dir.join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(unwritable(folder))?;
        }
        fs::write(&file, bytes).map_err(unwritable(&file))?;
    }
    Ok(())
}

async fn import(wanted: &Import, output: Output) -> Result<(), Failure> {
    let apps = read_apps(&wanted.dir)?;
    if apps.is_empty() {
        let message = format!("`{}` holds no application", wanted.dir.display());
        return Err(Failure::usage(message, "an application is a folder with an `app.yaml`"));
    }
    if wanted.revision.is_some() && apps.len() > 1 {
        return Err(Failure::usage("--revision is for one application", "name the folder of one application"));
    }
    let client = Client::new(&wanted.connection)?;
    for (name, files) in &apps {
        let written = put(&client, name, files, wanted).await?;
        told(&written, "written", output);
    }
    Ok(())
}

async fn put(client: &Client, name: &AppName, files: &FileTree, wanted: &Import) -> Result<WrittenView, Failure> {
    let files = files.iter().map(|(path, bytes)| (path.clone(), FileContent::of(bytes))).collect();
    let body = PutApp { files, message: wanted.message.clone(), revision: None };
    let path = format!("/v1/apps/{name}");
    let send = |condition| client.change(Method::PUT, &path, condition, Some(&body));
    match send(at(wanted.revision.as_deref())).await {
        // It is not there: whatever it is at was asked for, so it is added.
        Err(Failure::Answer(problem)) if wanted.revision.is_none() && is_absent(&problem) => {
            send((header::IF_NONE_MATCH, "*".to_owned())).await
        }
        outcome => outcome,
    }
}

fn is_absent(problem: &Problem) -> bool {
    problem.code == "precondition_failed" && problem.revision.is_none()
}

fn show_history(history: &HistoryView, output: Output) {
    let rows: Vec<_> = history
        .changes
        .iter()
        .map(|change| {
            let at = change.at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
            let revision = change.revision.clone().unwrap_or_else(|| "-".to_owned());
            let message = change.message.lines().next().unwrap_or_default().to_owned();
            vec![at, revision, change.author.name.clone(), message]
        })
        .collect();
    output.table(&["AT", "REVISION", "BY", "MESSAGE"], &rows);
    if let Some(next) = &history.next {
        output.note(&format!("older: --before {next}"));
    }
}

async fn diff(client: &Client, app: &str, from: &str, to: Option<&str>, output: Output) -> Result<(), Failure> {
    let to = to.map(|to| format!("&to={}", segment(to))).unwrap_or_default();
    let path = format!("/v1/apps/{}/diff?from={}{to}", segment(app), segment(from));
    if output.json {
        output.value(&client.get::<DiffView>(&path).await?);
        return Ok(());
    }
    let request = client.request(Method::GET, &path).header(header::ACCEPT, "text/x-diff");
    let text = client.send(request).await?.text().await.map_err(|source| client.failed(source))?;
    output.piece(&text);
    Ok(())
}

async fn restore(change: &Change, to: &str, output: Output) -> Result<(), Failure> {
    let client = Client::new(&change.connection)?;
    let path = format!("/v1/apps/{}/restore", segment(&change.name));
    let body = RestoreBody { revision: to.to_owned(), message: None };
    let send = |condition| client.change(Method::POST, &path, condition, Some(&body));
    let restored: WrittenView = match send(at(change.revision.as_deref())).await {
        Err(Failure::Answer(problem)) if change.revision.is_none() && is_absent(&problem) => {
            send((header::IF_NONE_MATCH, "*".to_owned())).await?
        }
        outcome => outcome?,
    };
    told(&restored, "restored", output);
    Ok(())
}

async fn turn(client: &Client, app: &str, verb: &str, reason: Option<&str>, output: Output) -> Result<(), Failure> {
    let path = format!("/v1/apps/{}/{verb}", segment(app));
    let app: AppView = client.post(&path, &json!({ "reason": reason.unwrap_or_default() })).await?;
    if output.json {
        output.value(&app);
    } else {
        let reason = app.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        output.line(&format!("{} is {}{reason}", app.name, app.status));
    }
    Ok(())
}

async fn step(client: &Client, verb: &str, output: Output) -> Result<(), Failure> {
    let moved: MovedView = client.post(&format!("/v1/definitions/{verb}"), &json!({})).await?;
    if output.json {
        output.value(&moved);
    } else {
        let head = moved.head.as_deref().unwrap_or("no commit");
        output.line(&format!("{} at {head}", if moved.moved { "moved, now" } else { "nothing to move," }));
    }
    Ok(())
}
