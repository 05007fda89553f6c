//! `nexus mcp list | diff | approve | login`.

use std::io::{BufRead as _, IsTerminal as _};

use reqwest::{Method, header};

use super::{
    args::{Connection, McpServer},
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{
    McpApproval, McpLoginRequest, McpLoginResult, McpLoginView, McpOfferView, McpServerList, McpServerView, WrittenView,
};

pub(super) async fn list(app: &str, connection: &Connection, output: Output) -> Result<(), Failure> {
    let list: McpServerList = Client::new(connection)?.get(&format!("/v1/apps/{}/mcp", segment(app))).await?;
    if output.json {
        output.value(&list);
        return Ok(());
    }
    let row = |server: &McpServerView| {
        let state = match (server.resting_ms, server.seen) {
            (Some(_), _) => "failed",
            (None, true) => "ready",
            (None, false) => "not used yet",
        };
        let (tools, blocked) = (server.tools.len().to_string(), server.blocked.len().to_string());
        vec![server.name.clone(), state.to_owned(), tools, blocked, server.at.clone()]
    };
    let rows: Vec<_> = list.servers.iter().map(row).collect();
    output.table(&["SERVER", "STATE", "TOOLS", "BLOCKED", "AT"], &rows);
    for server in list.servers.iter().filter(|server| !server.blocked.is_empty()) {
        output.note(&format!("`nexus mcp diff {app} {}` shows what is blocked and why", server.name));
    }
    Ok(())
}

pub(super) async fn diff(server: &McpServer, output: Output) -> Result<(), Failure> {
    let client = Client::new(&server.connection)?;
    let offer: McpOfferView = client.get(&format!("{}/diff", path(server))).await?;
    if output.json {
        output.value(&offer);
    } else {
        show(&offer, output);
    }
    Ok(())
}

fn show(offer: &McpOfferView, output: Output) {
    if offer.changes.is_empty() {
        output.note("all that the server offers is approved, as it is");
    }
    for change in &offer.changes {
        output.line(&format!("{} {}", change.kind, change.tool));
        output.line(&change.diff);
    }
}

pub(super) async fn approve(server: &McpServer, tools: &[String], yes: bool, output: Output) -> Result<(), Failure> {
    let client = Client::new(&server.connection)?;
    let offer: McpOfferView = client.get(&format!("{}/diff", path(server))).await?;
    if !yes {
        show(&offer, output);
        if offer.changes.is_empty() {
            return Ok(());
        }
        confirm(output)?;
    }
    let tools = (!tools.is_empty()).then(|| tools.iter().cloned().collect());
    let approval = McpApproval { tools, digest: Some(offer.digest) };
    let (path, condition) = (format!("{}/approve", path(server)), (header::IF_MATCH, "*".to_owned()));
    let written: WrittenView = client.change(Method::POST, &path, condition, Some(&approval)).await?;
    if output.json {
        output.value(&written);
    } else {
        output.note("approved");
    }
    Ok(())
}

/// Has a person say yes.
fn confirm(output: Output) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(
            "nobody is there to approve it",
            "look at it with `nexus mcp diff`, then add --yes",
        ));
    }
    output.note("Approve this? Type `yes`:");
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    if read.is_ok() && answer.trim() == "yes" { Ok(()) } else { Err(Failure::usage("nothing was approved", "")) }
}

/// Lets a person log in: shows where, then takes what the browser was sent back with.
pub(super) async fn login(server: &McpServer, redirect: &str, output: Output) -> Result<(), Failure> {
    let client = Client::new(&server.connection)?;
    let request = McpLoginRequest { redirect: redirect.to_owned() };
    let login: McpLoginView = client.post(&format!("{}/login", path(server)), &request).await?;
    // Shown, and never handed to a shell or a browser: it is a stranger's text.
    output.note("Open this address, and log in:");
    output.line(&login.url);
    output.note("Then paste the address that the browser was sent to (it need not show a page):");
    let mut url = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut url)
        .map_err(|error| Failure::usage(format!("nothing could be read: {error}"), ""))?;
    let result = McpLoginResult { url: url.trim().to_owned() };
    let path = format!("{}/login/finish", path(server));
    client.send(client.request(Method::POST, &path).json(&result)).await?;
    output.note("logged in");
    Ok(())
}

fn path(server: &McpServer) -> String {
    format!("/v1/apps/{}/mcp/{}", segment(&server.app), segment(&server.server))
}
