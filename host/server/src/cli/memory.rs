//! `nexus memory`.

use reqwest::Method;

use super::{
    args::{Memory, Remember},
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{HitList, MemoryView, RememberedView};

pub(super) async fn run(command: &Memory, output: Output) -> Result<(), Failure> {
    match command {
        Memory::List { app, connection } => {
            let memory: MemoryView = Client::new(connection)?.get(&base(app)).await?;
            if output.json {
                output.value(&memory);
            } else {
                let rows = memory.documents.iter().map(|one| vec![one.name.clone(), one.bytes.to_string()]);
                output.table(&["DOCUMENT", "BYTES"], &rows.collect::<Vec<_>>());
            }
        }
        Memory::Read { app, document, connection } => {
            let client = Client::new(connection)?;
            let response = client.send(client.request(Method::GET, &path(app, document))).await?;
            let text = response.text().await.map_err(|source| client.failed(source))?;
            if output.json {
                output.value(&serde_json::json!({ "document": document, "text": text }));
            } else {
                output.piece(&text);
            }
        }
        Memory::Write(change) => remember(change, Method::PUT, output).await?,
        Memory::Append(change) => remember(change, Method::POST, output).await?,
        Memory::Remove { app, document, connection } => {
            let client = Client::new(connection)?;
            let request = client.request(Method::DELETE, &path(app, document));
            told(&client.read(client.send(request).await?).await?, output);
        }
        Memory::Search { app, query, limit, connection } => {
            let query = segment(&query.join(" "));
            let path = format!("{}/search?limit={limit}&q={query}", base(app));
            let found: HitList = Client::new(connection)?.get(&path).await?;
            if output.json {
                output.value(&found);
            } else {
                for hit in &found.hits {
                    output.line(&format!("{}:{}\n{}\n", hit.document, hit.line, hit.text));
                }
            }
        }
    }
    Ok(())
}

async fn remember(change: &Remember, method: Method, output: Output) -> Result<(), Failure> {
    let text = super::call::input(&change.text)?;
    let client = Client::new(&change.connection)?;
    let request = client.request(method, &path(&change.app, &change.document));
    let request = request.header(reqwest::header::CONTENT_TYPE, "text/markdown").body(text);
    told(&client.read(client.send(request).await?).await?, output);
    Ok(())
}

fn told(remembered: &RememberedView, output: Output) {
    if output.json {
        output.value(remembered);
    } else {
        output.note(&format!("commit {}", remembered.commit));
    }
}

fn base(app: &str) -> String {
    format!("/v1/apps/{}/memory", segment(app))
}

fn path(app: &str, document: &str) -> String {
    let parts: Vec<_> = document.split('/').map(segment).collect();
    format!("{}/{}", base(app), parts.join("/"))
}
