//! `nexus plugin`.

mod consent;
mod grants;
mod show;

use std::path::Path;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{
    args::{Add, Become, Plugin, Update},
    call,
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{InspectedView, PluginList, PluginView, ToolResult, WrittenView};

pub(super) async fn run(command: &Plugin, output: Output) -> Result<(), Failure> {
    match command {
        Plugin::Add(wanted) => add(wanted, output).await,
        Plugin::Update(wanted) => update(wanted, output).await,
        Plugin::List { app, connection } => {
            let list: PluginList = Client::new(connection)?.get(&format!("/v1/apps/{}/plugins", segment(app))).await?;
            if output.json {
                output.value(&list);
            } else {
                show::list(&list, output);
            }
            Ok(())
        }
        Plugin::Inspect { what, app: Some(app), connection } => {
            let plugin: PluginView = Client::new(connection)?.get(&path(app, what)).await?;
            if output.json {
                output.value(&plugin);
            } else {
                show::plugin(&plugin, output);
            }
            Ok(())
        }
        Plugin::Inspect { what, app: None, connection } => {
            let found = inspected(&Client::new(connection)?, read(what)?).await?;
            if output.json {
                output.value(&found);
            } else {
                show::inspected(&found, output);
            }
            Ok(())
        }
        Plugin::Grants { component, connection } => {
            let found = inspected(&Client::new(connection)?, read(component)?).await?;
            if output.json {
                output.value(&found.needs);
            } else {
                output.piece(&show::grants(&found));
            }
            Ok(())
        }
        Plugin::Remove { name, app, message, connection } => {
            let client = Client::new(connection)?;
            let query = query(&[("message", message.as_deref())]);
            let anything = (header::IF_MATCH, "*".to_owned());
            let removed: WrittenView =
                client.change(Method::DELETE, &format!("{}{query}", path(app, name)), anything, None::<&()>).await?;
            told(&removed, name, "removed", output);
            Ok(())
        }
        Plugin::Run { tool, app, args, connection } => {
            let client = Client::new(connection)?;
            let path = format!("/v1/apps/{}/tools/{}/call", segment(app), segment(tool));
            let request = client.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/json");
            let response = client.send(request.body(call::input(args)?)).await?;
            let execution =
                response.headers().get("x-nexus-execution").and_then(|id| id.to_str().ok()).map(str::to_owned);
            let ToolResult { result } = client.read(response).await?;
            output.value(&if output.json { json!({ "execution": execution, "result": result }) } else { result });
            Ok(())
        }
    }
}

async fn add(wanted: &Add, output: Output) -> Result<(), Failure> {
    let component = read(&wanted.component)?;
    let name = name(wanted.name.as_deref(), &wanted.component)?;
    let client = Client::new(&wanted.what.connection)?;
    let request = Put::new(&wanted.what, name, component)?;
    let written = request.send(&client, (header::IF_NONE_MATCH, "*"), false).await?;
    told(&written, name, "added", output);
    Ok(())
}

async fn update(wanted: &Update, output: Output) -> Result<(), Failure> {
    let client = Client::new(&wanted.what.connection)?;
    let name = match &wanted.component {
        Some(component) => name(wanted.name.as_deref(), component)?,
        None => wanted.name.as_deref().ok_or_else(|| {
            Failure::usage("nothing says which plugin", "name it with --name, or give a component's file")
        })?,
    };
    // It must be there, so that a mistyped name adds nothing.
    let present: PluginView = client.get(&path(&wanted.what.app, name)).await?;
    let (component, source) = match &wanted.component {
        Some(component) => (read(component)?, None),
        None => (present_component(&client, &wanted.what.app, &present).await?, present.source),
    };
    let request = Put { source, ..Put::new(&wanted.what, name, component)? };
    let anything = (header::IF_MATCH, "*");
    let written = match request.send(&client, anything.clone(), wanted.yes).await {
        Err(Failure::Answer(problem)) if problem.code == "grants_widened" && consent::given(&problem, output) => {
            request.send(&client, anything, true).await?
        }
        outcome => outcome?,
    };
    told(&written, name, "updated", output);
    Ok(())
}

/// The component that a plugin has.
async fn present_component(client: &Client, app: &str, plugin: &PluginView) -> Result<Vec<u8>, Failure> {
    let file: Vec<_> = plugin.component.split('/').map(segment).collect();
    let path = format!("/v1/apps/{}/files/{}", segment(app), file.join("/"));
    let response = client.send(client.request(Method::GET, &path)).await?;
    response.bytes().await.map(|bytes| bytes.to_vec()).map_err(|source| client.failed(source))
}

/// What is sent to add or replace a plugin.
struct Put {
    path: String,
    grants: Option<Value>,
    source: Option<String>,
    message: Option<String>,
    component: Vec<u8>,
}

impl Put {
    fn new(what: &Become, name: &str, component: Vec<u8>) -> Result<Self, Failure> {
        let component = match &what.wit {
            Some(wit) => nexus_wasm::with_docs(&component, wit).map_err(|error| {
                Failure::usage(
                    format!("the doc comments of `{}`: {error}", wit.display()),
                    "name the WIT that it was built from",
                )
            })?,
            None => component,
        };
        let grants = grants::read(what.grants.as_deref(), &what.grant)?;
        Ok(Self { path: path(&what.app, name), grants, source: None, message: what.message.clone(), component })
    }

    async fn send(
        &self,
        client: &Client,
        condition: (header::HeaderName, &str),
        widen: bool,
    ) -> Result<WrittenView, Failure> {
        let grants = self.grants.as_ref().map(Value::to_string);
        let query = query(&[
            ("grants", grants.as_deref()),
            ("source", self.source.as_deref()),
            ("message", self.message.as_deref()),
            ("accept", widen.then_some("widened")),
        ]);
        let request = client.request(Method::PUT, &format!("{}{query}", self.path)).header(condition.0, condition.1);
        let request = request.header(header::CONTENT_TYPE, "application/wasm").body(self.component.clone());
        client.read(client.send(request).await?).await
    }
}

async fn inspected(client: &Client, component: Vec<u8>) -> Result<InspectedView, Failure> {
    let request = client.request(Method::POST, "/v1/plugins/inspect").header(header::CONTENT_TYPE, "application/wasm");
    client.read(client.send(request.body(component)).await?).await
}

fn read(file: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|source| Failure::Unreadable { path: file.into(), source })
}

/// The name that is given, or else that of the file.
fn name<'a>(given: Option<&'a str>, file: &'a str) -> Result<&'a str, Failure> {
    let stem = given.or_else(|| Path::new(file).file_stem()?.to_str());
    let valid = stem.filter(|name| name.parse::<nexus_model::PluginName>().is_ok());
    valid.ok_or_else(|| {
        let message = format!("`{}` cannot be the name of a plugin", stem.unwrap_or(file));
        Failure::usage(message, "give one with --name: 1 to 63 of a-z, 0-9 and `-`, beginning with a letter")
    })
}

fn path(app: &str, plugin: &str) -> String {
    format!("/v1/apps/{}/plugins/{}", segment(app), segment(plugin))
}

/// What is there, as a query.
fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment((*value)?))));
    let all = given.collect::<Vec<_>>().join("&");
    if all.is_empty() { all } else { format!("?{all}") }
}

fn told(written: &WrittenView, plugin: &str, what: &str, output: Output) {
    if output.json {
        output.value(written);
        return;
    }
    let revision = written.revision.as_ref().map(|revision| format!(", revision {revision}")).unwrap_or_default();
    let what = if written.changed { what } else { "unchanged" };
    output.line(&format!("{}/{plugin} {what}{revision}", written.app));
}

#[cfg(test)]
mod tests {
    use super::{name, query};

    #[test]
    fn a_plugin_has_the_name_of_its_file_if_it_can() {
        assert_eq!(name(None, "/x/orders.wasm").ok(), Some("orders"));
        assert_eq!(name(Some("prices"), "Orders_2.wasm").ok(), Some("prices"));
        assert!(name(None, "Orders_2.wasm").is_err());
    }

    #[test]
    fn only_what_is_there_is_asked_for() {
        assert_eq!(query(&[("a", None)]), "");
        assert_eq!(query(&[("a", Some("{\"x\"}")), ("b", None), ("c", Some("1"))]), "?a=%7B%22x%22%7D&c=1");
    }
}
