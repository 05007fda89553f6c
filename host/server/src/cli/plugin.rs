//! `nexus plugin`.

mod consent;
mod dev;
mod grants;
mod new;
mod show;

use std::path::Path;

use nexus_signals::Redactor;
use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{
    args::{Add, Become, Plugin, Update},
    call,
    client::{Client, segment},
    failure::Failure,
    oci::{self, Key, Pulled},
    output::Output,
};
use crate::{InspectedView, PluginList, PluginView, ToolResult, WrittenView, environment::Environment};

pub(super) async fn run(
    command: &Plugin,
    output: Output,
    environment: &Environment,
    redactor: &Redactor,
) -> Result<(), Failure> {
    let desk = Desk { environment, redactor, output };
    match command {
        Plugin::New(wanted) => new::run(wanted, output),
        Plugin::Dev(wanted) => dev::run(wanted, output).await,
        Plugin::Add(wanted) => add(wanted, desk).await,
        Plugin::Update(wanted) => update(wanted, desk).await,
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
            let given = Given::read(what, None, desk).await?;
            let found = inspected(&Client::new(connection)?, given.component).await?;
            if output.json {
                output.value(&found);
            } else {
                show::inspected(&found, output);
            }
            Ok(())
        }
        Plugin::Grants { component, connection } => {
            let given = Given::read(component, None, desk).await?;
            let found = inspected(&Client::new(connection)?, given.component).await?;
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

/// Where a command is typed.
#[derive(Clone, Copy)]
struct Desk<'a> {
    environment: &'a Environment,
    redactor: &'a Redactor,
    output: Output,
}

async fn add(wanted: &Add, desk: Desk<'_>) -> Result<(), Failure> {
    let name = name(wanted.name.as_deref(), &wanted.component)?;
    let given = Given::read(&wanted.component, wanted.what.signed_by.as_deref(), desk).await?;
    let client = Client::new(&wanted.what.connection)?;
    let request = Put::new(&wanted.what, &name, given)?;
    let written = request.send(&client, (header::IF_NONE_MATCH, "*"), false).await?;
    told(&written, &name, "added", desk.output);
    Ok(())
}

async fn update(wanted: &Update, desk: Desk<'_>) -> Result<(), Failure> {
    let client = Client::new(&wanted.what.connection)?;
    let name = match &wanted.component {
        Some(component) => name(wanted.name.as_deref(), component)?,
        None => wanted
            .name
            .clone()
            .ok_or_else(|| Failure::usage("nothing says which plugin", "name it with --name, or give a component"))?,
    };
    // It must be there, so that a mistyped name adds nothing.
    let present: PluginView = client.get(&path(&wanted.what.app, &name)).await?;
    let given = match &wanted.component {
        Some(component) => Given::read(component, wanted.what.signed_by.as_deref(), desk).await?,
        None => Given::present(&client, &wanted.what.app, &present).await?,
    };
    let request = Put::new(&wanted.what, &name, given)?;
    let anything = (header::IF_MATCH, "*");
    let written = match request.send(&client, anything.clone(), wanted.yes).await {
        Err(Failure::Answer(problem)) if problem.code == "grants_widened" && consent::given(&problem, desk.output) => {
            request.send(&client, anything, true).await?
        }
        outcome => outcome?,
    };
    if written.changed {
        let now: PluginView = client.get(&path(&wanted.what.app, &name)).await?;
        desk.output.note(&consent::changes(&present, &now));
    }
    told(&written, &name, "updated", desk.output);
    Ok(())
}

/// What is sent to add or replace a plugin.
struct Put {
    path: String,
    grants: Option<Value>,
    source: Option<String>,
    message: Option<String>,
    component: Vec<u8>,
}

/// A component, and where it came from if that is elsewhere.
struct Given {
    component: Vec<u8>,
    source: Option<String>,
}

impl Given {
    /// Reads a file, or pulls what a reference names if there is no such file.
    async fn read(text: &str, signed_by: Option<&Path>, desk: Desk<'_>) -> Result<Self, Failure> {
        match oci::reference(text).filter(|_| !Path::new(text).exists()) {
            Some(reference) => {
                let reference = reference.map_err(Box::new)?;
                let key = signed_by.map(Key::read).transpose().map_err(Box::new)?;
                let pulled = oci::pull(&reference, key.as_ref(), desk.environment, desk.redactor).await;
                let Pulled { component, source } = pulled.map_err(Box::new)?;
                desk.output.note(&format!("Pulled {source}"));
                Ok(Self { component, source: Some(source) })
            }
            None if signed_by.is_some() => Err(Failure::usage(
                format!("`{text}` is no reference of a registry, and has no signature that could be looked at"),
                "leave --signed-by out for a file",
            )),
            None => match std::fs::read(text) {
                Ok(component) => Ok(Self { component, source: None }),
                Err(source) => Err(Failure::Unreadable { path: text.into(), source }),
            },
        }
    }

    /// The component that a plugin has.
    async fn present(client: &Client, app: &str, plugin: &PluginView) -> Result<Self, Failure> {
        let file: Vec<_> = plugin.component.split('/').map(segment).collect();
        let path = format!("/v1/apps/{}/files/{}", segment(app), file.join("/"));
        let response = client.send(client.request(Method::GET, &path)).await?;
        let component = response.bytes().await.map_err(|source| client.failed(source))?.to_vec();
        Ok(Self { component, source: plugin.source.clone() })
    }
}

impl Put {
    fn new(what: &Become, name: &str, Given { component, source }: Given) -> Result<Self, Failure> {
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
        Ok(Self { path: path(&what.app, name), grants, source, message: what.message.clone(), component })
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

/// The name that is given, or else that of the file or of the repository.
fn name(given: Option<&str>, component: &str) -> Result<String, Failure> {
    let name = match (given, oci::reference(component)) {
        (Some(name), _) => Some(name.to_owned()),
        (None, Some(reference)) => Some(oci::name(&reference.map_err(Box::new)?).to_owned()),
        (None, None) => Path::new(component).file_stem().and_then(|stem| stem.to_str()).map(str::to_owned),
    };
    let valid = name.as_ref().filter(|name| name.parse::<nexus_model::PluginName>().is_ok());
    valid.cloned().ok_or_else(|| {
        let message = format!("`{}` cannot be the name of a plugin", name.as_deref().unwrap_or(component));
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
    use super::query;

    #[test]
    fn a_plugin_has_the_name_of_its_file_if_it_can() {
        let name = |given, component| super::name(given, component).ok();
        assert_eq!(name(None, "/x/orders.wasm").as_deref(), Some("orders"));
        assert_eq!(name(None, "oci.example/acme/orders:1.2").as_deref(), Some("orders"));
        assert_eq!(name(Some("prices"), "Orders_2.wasm").as_deref(), Some("prices"));
        assert!(name(None, "Orders_2.wasm").is_none());
    }

    #[test]
    fn only_what_is_there_is_asked_for() {
        assert_eq!(query(&[("a", None)]), "");
        assert_eq!(query(&[("a", Some("{\"x\"}")), ("b", None), ("c", Some("1"))]), "?a=%7B%22x%22%7D&c=1");
    }
}
