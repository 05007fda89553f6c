//! Tools under other names than their own.

use std::collections::BTreeMap;

/// Under what names tools are shown.
pub(super) struct Shown<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Shown<'a> {
    /// `expose` has the tool of each name.
    pub(super) fn new(expose: &'a BTreeMap<String, String>) -> Self {
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, tool) in expose {
            names.entry(tool).or_default().push(name);
        }
        Self(names)
    }

    /// The names of a tool: its own if it has no others.
    pub(super) fn names(&self, tool: &str) -> Vec<String> {
        let names = self.0.get(tool).map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        names.unwrap_or_else(|| vec![tool.to_owned()])
    }
}

/// The tool behind a name; `None` if the name is that of a tool that is shown under others.
pub(super) fn behind<'a>(expose: &'a BTreeMap<String, String>, name: &'a str) -> Option<&'a str> {
    match expose.get(name) {
        Some(tool) => Some(tool),
        None if expose.values().any(|tool| tool == name) => None,
        None => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_called_by_the_names_that_are_shown() {
        let expose = BTreeMap::from([("a", "p.one"), ("b", "p.one")]);
        let expose = expose.into_iter().map(|(name, tool)| (name.to_owned(), tool.to_owned())).collect();
        let shown = Shown::new(&expose);
        assert_eq!(shown.names("p.one"), ["a", "b"]);
        assert_eq!(shown.names("p.two"), ["p.two"]);
        let behind = |name| behind(&expose, name);
        assert_eq!((behind("a"), behind("p.two"), behind("p.one")), (Some("p.one"), Some("p.two"), None));
    }
}
