//! Reads the plugins of `app.yaml`.

use std::collections::BTreeMap;

use nexus_model::{FileTree, Grants, HttpGrant, Plugin, PluginName, RESERVED_TYPES, WebOrigin, sha256_hex};
use serde_json::Value;

use crate::{
    document::Document,
    fault::{FaultCode, Faults, Finding, quoted},
    nearest::{listed, nearest},
    referenced,
    tool_use::{self, HOST},
    tree::join,
};

const AT: &str = "/spec/plugins";

/// How a digest begins.
pub(crate) const ALGORITHM: &str = "sha256:";

/// The plugins, as far as they can be read. Whatever has the wrong shape is a fault already.
pub(crate) fn read(
    document: &Document,
    files: &FileTree,
    models: Option<&[String]>,
    faults: &mut Faults,
) -> BTreeMap<PluginName, Plugin> {
    let given = document.value.pointer(AT).and_then(Value::as_object);
    let names: Vec<&String> = given.into_iter().flat_map(|plugins| plugins.keys()).collect();
    let mut reader = Reader { document, files, models, faults };
    let mut plugins = BTreeMap::new();
    for name in names {
        if reader.faults.is_full() {
            break;
        }
        let plugin = reader.plugin(&join(AT, name), name);
        plugins.extend(plugin.map(|plugin| (plugin.name.clone(), plugin)));
    }
    plugins
}

struct Reader<'a> {
    document: &'a Document,
    files: &'a FileTree,
    models: Option<&'a [String]>,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn plugin(&mut self, at: &str, name: &str) -> Option<Plugin> {
        if name == HOST {
            let message = format!("{} is the namespace of the host's own tools", quoted(name));
            let finding = Finding::new(FaultCode::BadName, message).expected("another name");
            self.faults.add(self.document.fault_at_key(at, finding));
        }
        let component = referenced::component(self.document, self.files, &format!("{at}/component"), self.faults);
        let grants = self.grants(&format!("{at}/grants"));
        let (path, bytes) = component?;
        let digest = sha256_hex(bytes);
        self.digest(&format!("{at}/digest"), &path, &digest);
        let source = self.text(&format!("{at}/source")).map(str::to_owned);
        Some(Plugin { name: name.parse().ok()?, path, digest, source, grants: grants? })
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.document.value.pointer(pointer)?.as_str()
    }

    fn fault(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.document.fault_at_value(pointer, finding));
    }

    fn digest(&mut self, at: &str, path: &str, digest: &str) {
        let Some(given) = self.text(at).and_then(|text| text.strip_prefix(ALGORITHM)) else { return };
        if given.len() == digest.len() && given != digest {
            let message = format!("the bytes of {} have another digest", quoted(path));
            let finding = Finding::new(FaultCode::WrongDigest, message);
            self.fault(at, finding.expected(quoted(&format!("{ALGORITHM}{digest}"))));
        }
    }

    /// The grants; `None` where they have the wrong shape.
    fn grants(&mut self, at: &str) -> Option<Grants> {
        let Some(given) = self.document.value.pointer(at) else { return Some(Grants::default()) };
        let grants: Grants = serde_json::from_value(given.clone()).ok()?;
        http(self.document, &format!("{at}/http"), &grants.http, self.faults);
        for (number, pattern) in grants.tools.iter().enumerate() {
            self.tool(&format!("{at}/tools/{number}"), pattern);
        }
        for (number, pattern) in grants.events.iter().enumerate() {
            self.event(&format!("{at}/events/{number}"), pattern);
        }
        for (number, alias) in grants.models.iter().enumerate() {
            self.model(&format!("{at}/models/{number}"), alias);
        }
        Some(grants)
    }

    /// A tool of a plugin or a server that there is, or one of the host's. Whether a plugin has such a tool is seen when its
    /// component is looked at.
    fn tool(&mut self, at: &str, pattern: &str) {
        if let Some(finding) = tool_use::unknown(self.document, pattern) {
            self.fault(at, finding);
        }
    }

    fn event(&mut self, at: &str, pattern: &str) {
        if pattern.starts_with(RESERVED_TYPES) {
            let message = format!("{}: only Nexus publishes types that begin with `{RESERVED_TYPES}`", quoted(pattern));
            self.fault(at, Finding::new(FaultCode::BadValue, message).expected("another type"));
        }
    }

    fn model(&mut self, at: &str, alias: &str) {
        let Some(known) = self.models.filter(|known| !known.iter().any(|model| model == alias)) else { return };
        let message = format!("the settings have no model {}", quoted(alias));
        let finding = Finding::new(FaultCode::UnknownModel, message)
            .expected(listed(known.iter().map(String::as_str)))
            .nearest(nearest(alias, known.iter().map(String::as_str)));
        self.fault(at, finding);
    }
}

/// Looks at the origins that stand at `at`.
pub(crate) fn http(document: &Document, at: &str, grants: &[HttpGrant], faults: &mut Faults) {
    for (number, grant) in grants.iter().enumerate() {
        let item = format!("{at}/{number}");
        let place = if grant.credential.is_some() { format!("{item}/origin") } else { item };
        if let Some(finding) = origin_fault(&grant.origin) {
            faults.add(document.fault_at_value(&place, finding));
        }
    }
}

/// What speaks against a text being an origin in the one spelling in which origins are told.
pub(crate) fn origin_fault(origin: &str) -> Option<Finding> {
    let (wrong, expected) = match origin.parse::<WebOrigin>() {
        Ok(read) if read.to_string() == origin => return None,
        Ok(read) => ("is not spelled as origins are compared".to_owned(), quoted(&read.to_string())),
        Err(error) => {
            (format!("is no origin: {}", error.why), "scheme, host and port, as `https://api.example.com`".to_owned())
        }
    };
    let message = format!("{} {wrong}", quoted(origin));
    Some(Finding::new(FaultCode::BadValue, message).expected(expected))
}

#[cfg(test)]
mod tests {
    use super::origin_fault;

    #[test]
    fn an_origin_is_written_as_it_is_compared() {
        for good in ["https://api.example.com", "http://localhost:8080", "https://[::1]:444"] {
            assert_eq!(origin_fault(good), None, "{good}");
        }
        for (other, meant) in [
            ("https://API.example.com", "`https://api.example.com`"),
            ("https://api.example.com/", "`https://api.example.com`"),
            ("https://api.example.com:443", "`https://api.example.com`"),
        ] {
            assert_eq!(origin_fault(other).map(|finding| finding.expected).as_deref(), Some(meant), "{other}");
        }
        for bad in [
            "https://user@api.example.com/v1?x",
            "",
            "api.example.com",
            "ftp://api.example.com",
            "https://",
            "file:///etc",
        ] {
            assert!(origin_fault(bad).is_some(), "{bad}");
        }
    }
}
