//! `nexus mcp search | add | remove`: servers that others have written.

use reqwest::{Method, Response, header};

use super::{
    args::{McpAdd, McpServer},
    client::{Client, segment},
    failure::Failure,
    output::Output,
    sse::Events,
};
use crate::{CommunityServerList, CommunityServerView, McpAddition, WrittenView};

pub(super) async fn search(words: &[String], client: &Client, output: Output) -> Result<(), Failure> {
    let list: CommunityServerList = client.get(&format!("/v1/mcp/community?q={}", segment(&words.join(" ")))).await?;
    if output.json {
        output.value(&list);
        return Ok(());
    }
    if list.servers.is_empty() {
        output.note("no community server answers to all of these words; `nexus mcp search` lists all");
        return Ok(());
    }
    let row = |server: &CommunityServerView| {
        let grants = server.needs.keys().map(|grant| format!("grant {grant}"));
        let secrets = server.secrets.keys().map(|variable| format!("secret {variable}"));
        let needs = grants.chain(secrets).collect::<Vec<_>>().join(", ");
        vec![server.name.clone(), server.description.clone(), needs, server.source.clone()]
    };
    let rows: Vec<_> = list.servers.iter().map(row).collect();
    output.table(&["SERVER", "WHAT IT DOES", "NEEDS", "SOURCE"], &rows);
    Ok(())
}

pub(super) async fn add(add: &McpAdd, output: Output) -> Result<(), Failure> {
    let client = Client::new(&add.connection)?;
    let mut addition = McpAddition {
        server: add.server.clone(),
        name: add.name.clone(),
        secrets: add.secrets.iter().cloned().collect(),
        anew: add.anew,
        ..McpAddition::default()
    };
    for (grant, value) in &add.grants {
        match grant.as_str() {
            "http" => addition.http.insert(value.clone()),
            "tcp" => addition.tcp.insert(value.clone()),
            other => {
                let message = format!("there is no grant `{other}` for MCP servers");
                return Err(Failure::usage(message, "write --grant http=https://… or --grant tcp=host:port"));
            }
        };
    }
    let request = client.request(Method::POST, &format!("/v1/apps/{}/mcp", segment(&add.app)));
    let condition = if add.replace { (header::IF_MATCH, "*") } else { (header::IF_NONE_MATCH, "*") };
    let request = request.header(header::ACCEPT, "text/event-stream").header(condition.0, condition.1);
    let written = written(&client, client.send(request.json(&addition)).await?, output).await?;
    if output.json {
        output.value(&written);
        return Ok(());
    }
    let name = add.name.as_ref().unwrap_or(&add.server);
    output.note(&format!("`{}` has `{name}`. Nothing of it can be called yet:", add.app));
    let list: CommunityServerList = client.get(&format!("/v1/mcp/community?q={}", segment(&add.server))).await?;
    let secrets = list.servers.into_iter().filter(|server| server.name == add.server).flat_map(|known| known.secrets);
    for (variable, needed) in secrets {
        let secret = addition.secrets.get(&variable).unwrap_or(&needed.secret);
        output.note(&format!("  nexus secret set {secret} --app {}    # {}", add.app, needed.holds));
    }
    output.note(&format!("  nexus mcp approve {} {name}    # shows its tools, and asks", add.app));
    output.note(&format!("  then name what may be used in app.yaml: `tools: {{ allow: [\"{name}.*\"] }}`"));
    Ok(())
}

/// What was written, at the end of a stream of lines, or at once.
async fn written(client: &Client, mut response: Response, output: Output) -> Result<WrittenView, Failure> {
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec()).unwrap_or_default();
    if !kind.starts_with(b"text/event-stream") {
        return client.read(response).await;
    }
    let mut events = Events::default();
    while let Some(chunk) = response.chunk().await.map_err(|source| client.failed(source))? {
        for event in events.feed(&chunk) {
            match event.name.as_str() {
                "line" => output.note(event.data["line"].as_str().unwrap_or_default()),
                "written" => {
                    return serde_json::from_value(event.data).map_err(|error| client.foreign(error.to_string()));
                }
                "error" => {
                    let problem = serde_json::from_value(event.data);
                    return Err(problem.map_or_else(
                        |error| client.foreign(error.to_string()),
                        |problem| Failure::Answer(Box::new(problem)),
                    ));
                }
                _ => {}
            }
        }
    }
    Err(client.foreign("the stream ended before the image was made"))
}

pub(super) async fn remove(server: &McpServer, output: Output) -> Result<(), Failure> {
    let client = Client::new(&server.connection)?;
    let path = format!("/v1/apps/{}/mcp/{}", segment(&server.app), segment(&server.server));
    let condition = (header::IF_MATCH, "*".to_owned());
    let written: WrittenView = client.change(Method::DELETE, &path, condition, None::<&()>).await?;
    if output.json {
        output.value(&written);
    } else {
        output.note("removed; what it kept in a folder of its own is still at the engine");
    }
    Ok(())
}
