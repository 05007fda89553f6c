//! What is known of components, in as little memory as will do: schemas are text until somebody looks at them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use nexus_model::{GrantNeed, LeftOut, Offers, PluginFacts, ToolSignature};
use serde_json::Value;

/// The facts of a component. A thousand plugins cost some kilobytes each this way, and ten times as much with their
/// schemas as trees.
#[derive(Debug)]
pub(crate) struct Known {
    digest: Box<str>,
    tools: Box<[KnownTool]>,
    left_out: Box<[LeftOut]>,
    imports: Box<[String]>,
    needs: Box<[GrantNeed]>,
    wit: Box<str>,
    offers: Offers,
}

#[derive(Debug)]
struct KnownTool {
    name: Box<str>,
    description: Option<Box<str>>,
    input: Box<str>,
    output: Option<Box<str>>,
    content: bool,
}

impl Known {
    fn new(facts: &PluginFacts) -> Self {
        Self {
            digest: facts.digest.as_str().into(),
            tools: facts.tools.iter().map(KnownTool::new).collect(),
            left_out: facts.left_out.as_slice().into(),
            imports: facts.imports.as_slice().into(),
            needs: facts.grants.as_slice().into(),
            wit: facts.wit.as_str().into(),
            offers: facts.offers,
        }
    }

    /// All of it.
    pub(crate) fn facts(&self) -> PluginFacts {
        PluginFacts {
            digest: self.digest.to_string(),
            tools: self.tools().collect(),
            left_out: self.left_out.to_vec(),
            imports: self.imports.to_vec(),
            grants: self.needs.to_vec(),
            wit: self.wit.to_string(),
            offers: self.offers,
        }
    }

    /// The least grants that it needs.
    pub(crate) fn needs(&self) -> &[GrantNeed] {
        &self.needs
    }

    /// Its world as WIT.
    pub(crate) fn wit(&self) -> &str {
        &self.wit
    }

    /// What it offers to MCP clients beside tools.
    pub(crate) fn offers(&self) -> Offers {
        self.offers
    }

    /// The names of its tools.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|tool| &*tool.name)
    }

    /// Its tools.
    pub(crate) fn tools(&self) -> impl Iterator<Item = ToolSignature> {
        self.tools.iter().map(KnownTool::signature)
    }

    /// The tool of this name.
    pub(crate) fn tool(&self, name: &str) -> Option<ToolSignature> {
        self.tools.iter().find(|tool| &*tool.name == name).map(KnownTool::signature)
    }
}

impl KnownTool {
    fn new(tool: &ToolSignature) -> Self {
        Self {
            name: tool.name.as_str().into(),
            description: tool.description.as_deref().map(Into::into),
            input: tool.input.to_string().into(),
            output: tool.output.as_ref().map(|output| output.to_string().into()),
            content: tool.content,
        }
    }

    fn signature(&self) -> ToolSignature {
        // It was written from a value.
        let value = |text: &str| Arc::new(serde_json::from_str::<Value>(text).unwrap_or_default());
        ToolSignature {
            name: self.name.to_string(),
            description: self.description.as_deref().map(str::to_owned),
            input: value(&self.input),
            output: self.output.as_deref().map(value),
            content: self.content,
        }
    }
}

/// What is known of components, each once, for as long as somebody has a plugin of it.
#[derive(Default)]
pub(super) struct KnownFacts(Mutex<BTreeMap<String, Weak<Known>>>);

impl KnownFacts {
    pub(super) fn get(&self, digest: &str) -> Option<Arc<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest)?.upgrade()
    }

    /// What is known already, if another was faster.
    pub(super) fn keep(&self, facts: &PluginFacts) -> Arc<Known> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&facts.digest).and_then(Weak::upgrade) {
            return same;
        }
        known.retain(|_, facts| facts.strong_count() > 0);
        let kept = Arc::new(Known::new(facts));
        known.insert(facts.digest.clone(), Arc::downgrade(&kept));
        kept
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_is_what_was_told_and_is_kept_once() {
        let tool = ToolSignature {
            name: "price".to_owned(),
            description: Some("What it costs.".to_owned()),
            input: Arc::new(json!({ "type": "object", "required": ["sku"] })),
            output: None,
            content: true,
        };
        let facts = PluginFacts {
            digest: "ab".repeat(32),
            tools: vec![tool.clone()],
            left_out: vec![LeftOut { function: "f".to_owned(), reason: "why".to_owned() }],
            imports: vec!["wasi:logging/logging".to_owned()],
            grants: vec![GrantNeed { import: "wasi:logging/logging".to_owned(), yaml: "logging: true".to_owned() }],
            wit: "world root {}".to_owned(),
            offers: Offers { resources: true, prompts: false },
        };
        let known = KnownFacts::default();
        let kept = known.keep(&facts);
        assert_eq!(kept.facts(), facts);
        assert_eq!((kept.tool("price"), kept.tool("none")), (Some(tool), None));
        assert!(Arc::ptr_eq(&kept, &known.keep(&facts)) && known.get(&facts.digest).is_some());
        drop(kept);
        assert!(known.get(&facts.digest).is_none(), "nobody has a plugin of it any more");
    }
}
