//! Reads the outside MCP servers of `app.yaml`.

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::{
    EnvValue, FileTree, McpServer, McpServerAt, PluginName, SERVER_TIMEOUT, ServerAuth, ServerImage, Share,
    TcpDestination, WebOrigin,
};
use serde_json::Value;

use crate::{
    document::{self, Document, Format},
    duration,
    fault::{FaultCode, Faults, Finding, quoted},
    image::image_fault,
    plugins::origin_fault,
    tool_use::HOST,
    tree::join,
};

const AT: &str = "/spec/mcp";
/// The servers, as far as they can be read. Whatever has the wrong shape is a fault already.
pub(crate) fn read(document: &Document, files: &FileTree, faults: &mut Faults) -> BTreeMap<PluginName, McpServer> {
    let given = document.value.pointer(AT).and_then(Value::as_object);
    let names: Vec<&String> = given.into_iter().flat_map(|servers| servers.keys()).collect();
    let mut reader = Reader { document, files, faults };
    let mut servers = BTreeMap::new();
    for name in names {
        if reader.faults.is_full() {
            break;
        }
        let server = reader.server(&join(AT, name), name);
        servers.extend(server.map(|server| (server.name.clone(), server)));
    }
    servers
}

struct Reader<'a> {
    document: &'a Document,
    files: &'a FileTree,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn server(&mut self, at: &str, name: &str) -> Option<McpServer> {
        self.namespace(at, name);
        let place = self.place(at);
        let share = self.field(at, "share").unwrap_or_default();
        self.sharing(at, share, place.as_ref());
        let timeout = self.timeout(&format!("{at}/timeout"));
        let name: PluginName = name.parse().ok()?;
        let approved = self.approved(&McpServer::approved_file(&name));
        Some(McpServer { name, at: place?, share, timeout: timeout?, approved })
    }

    fn field<T: serde::de::DeserializeOwned>(&self, at: &str, name: &str) -> Option<T> {
        let value = self.document.value.pointer(&format!("{at}/{name}"))?;
        serde_json::from_value(value.clone()).ok()
    }

    fn at_value(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.document.fault_at_value(pointer, finding));
    }

    fn at_key(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.document.fault_at_key(pointer, finding));
    }

    /// Tools of plugins and of servers are told apart by their namespaces.
    fn namespace(&mut self, at: &str, name: &str) {
        let message = if name == HOST {
            format!("{} is the namespace of the host's own tools", quoted(name))
        } else if self.document.value.pointer(&join("/spec/plugins", name)).is_some() {
            format!("a plugin has the name {} already", quoted(name))
        } else {
            return;
        };
        self.at_key(at, Finding::new(FaultCode::BadName, message).expected("another name"));
    }

    /// Exactly one of the three, and nothing that belongs to another.
    fn place(&mut self, at: &str) -> Option<McpServerAt> {
        let fields = self.document.value.pointer(at)?.as_object()?;
        let given: Vec<&str> = ["image", "host", "url"].into_iter().filter(|name| fields.contains_key(*name)).collect();
        let [which] = given[..] else {
            let finding = if given.is_empty() {
                Finding::new(FaultCode::MissingField, "nothing says where the server is")
            } else {
                Finding::new(FaultCode::BadValue, format!("{} exclude each other", given.join(" and ")))
            };
            self.at_key(at, finding.expected("one of `image`, `host` and `url`"));
            return None;
        };
        let foreign =
            [("source", "image"), ("command", "image"), ("env", "image"), ("grants", "image"), ("auth", "url")];
        let foreign: Vec<_> =
            foreign.into_iter().filter(|(field, of)| *of != which && fields.contains_key(*field)).collect();
        for (field, of) in foreign {
            let message = format!("{} is for servers with {}", quoted(field), quoted(of));
            self.at_key(&format!("{at}/{field}"), Finding::new(FaultCode::BadValue, message));
        }
        match which {
            "image" => self.image(at).map(McpServerAt::Image),
            "host" => self.field(at, "host").map(McpServerAt::Host),
            _ => self.url(at),
        }
    }

    fn image(&mut self, at: &str) -> Option<ServerImage> {
        self.destinations(&format!("{at}/grants/tcp"));
        let value = self.document.value.pointer(at)?;
        let image: ServerImage = serde_json::from_value(value.clone()).ok()?;
        if let Some(finding) = image_fault(&image.image) {
            self.at_value(&format!("{at}/image"), finding);
        }
        let origins = self.document.value.pointer(&format!("{at}/grants/http")).and_then(Value::as_array);
        let origins: Vec<String> =
            origins.into_iter().flatten().map(|origin| origin.as_str().unwrap_or_default().to_owned()).collect();
        for (number, origin) in origins.iter().enumerate() {
            if let Some(finding) = origin_fault(origin) {
                self.at_value(&format!("{at}/grants/http/{number}"), finding);
            }
        }
        Some(image)
    }

    fn destinations(&mut self, at: &str) {
        let given = self.document.value.pointer(at).and_then(Value::as_array).into_iter().flatten();
        let given: Vec<Option<String>> = given.map(|one| one.as_str().map(str::to_owned)).collect();
        for (number, text) in given.iter().enumerate() {
            if let Some(finding) = text.as_deref().and_then(destination_fault) {
                self.at_value(&format!("{at}/{number}"), finding);
            }
        }
    }

    fn url(&mut self, at: &str) -> Option<McpServerAt> {
        let url: String = self.field(at, "url")?;
        // An origin is what stands before the path.
        let rest =
            url.split_once("://").and_then(|(_, rest)| rest.find(['/', '?']).map(|end| url.len() - rest.len() + end));
        let origin = &url[..rest.unwrap_or(url.len())];
        if let Err(error) = origin.parse::<WebOrigin>() {
            let finding = Finding::new(FaultCode::BadValue, format!("{} is no address: {}", quoted(&url), error.why));
            self.at_value(&format!("{at}/url"), finding.expected("as `https://mcp.example.com/mcp`"));
        }
        let given = self.document.value.pointer(&format!("{at}/auth")).is_some();
        let auth: Option<ServerAuth> = self.field(at, "auth");
        if given && auth.is_some() && url.starts_with("http://") && !is_loopback(origin) {
            let message = "a credential would be sent in the clear";
            self.at_value(&format!("{at}/url"), Finding::new(FaultCode::BadValue, message).expected("`https://`"));
        }
        (given == auth.is_some()).then_some(McpServerAt::Url { url, auth })
    }

    /// What holds an application's own must not be another's.
    fn sharing(&mut self, at: &str, share: Share, place: Option<&McpServerAt>) {
        let own = match place {
            Some(McpServerAt::Image(image)) => {
                image.grants.volume.is_some()
                    || image.env.values().any(|value| matches!(value, EnvValue::Secret { .. }))
            }
            Some(McpServerAt::Url { auth, .. }) => auth.is_some(),
            _ => false,
        };
        if share == Share::Host && own {
            let message = "a server with a secret or a volume of the application's cannot be shared by others";
            self.at_value(&format!("{at}/share"), Finding::new(FaultCode::BadValue, message).expected("`app`"));
        }
    }

    fn timeout(&mut self, at: &str) -> Option<std::time::Duration> {
        let Some(text) = self.document.value.pointer(at).and_then(Value::as_str) else { return Some(SERVER_TIMEOUT) };
        match duration::parse(text)? {
            Ok(timeout) => Some(timeout),
            Err(finding) => {
                self.at_value(at, finding);
                None
            }
        }
    }

    /// The tools that were approved, if there is a file of them that can be read.
    fn approved(&mut self, path: &str) -> Option<Arc<BTreeMap<String, Value>>> {
        let document = Document::open(self.files, path, Format::Json, self.faults)?;
        let tools = document.value.get("tools").cloned().and_then(|tools| serde_json::from_value(tools).ok());
        if tools.is_none() {
            let finding = Finding::new(FaultCode::BadValue, "the file does not hold approved tools");
            let finding = finding.expected("what `nexus mcp approve` writes: an object with `tools`, by name");
            self.faults.add(document::missing(path, finding));
        }
        tools.map(Arc::new)
    }
}

/// What is wrong with a destination of TCP, if anything.
fn destination_fault(text: &str) -> Option<Finding> {
    let (wrong, expected) = match text.parse::<TcpDestination>() {
        Ok(read) if read.to_string() == text => return None,
        Ok(read) => ("is not spelled as destinations are compared".to_owned(), quoted(&read.to_string())),
        Err(error) => (format!("is no destination: {}", error.why), "name and port, as `db.internal:5432`".to_owned()),
    };
    Some(Finding::new(FaultCode::BadValue, format!("{} {wrong}", quoted(text))).expected(expected))
}

fn is_loopback(origin: &str) -> bool {
    let host = origin.trim_start_matches("http://");
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
}
