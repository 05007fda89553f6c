//! What stands behind the question mark.

use serde_json::Value;
use url::form_urlencoded::{self, Serializer};

use super::{
    json::{is_texts, parse_object},
    refusal::{Refusal, excerpt},
};

/// What a parameter may be.
pub(super) enum Is {
    /// `true` or `false`.
    Flag,
    /// `false`.
    Off,
    /// One of these.
    One(&'static [&'static str]),
    /// Filters of a list, with this label among them.
    Labelled(&'static str),
}

/// A query that was read.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Each parameter is there once at most.
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if read.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::forbidden(format!("the parameter `{}` is there twice", excerpt(&name))));
            }
            read.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(read))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value));
    }

    /// Whether it has nothing but parameters of the table, with values that they may have.
    pub(super) fn check(&self, table: &[(&str, Is)]) -> Result<(), Refusal> {
        for (name, value) in self.iter() {
            let rule = table.iter().find(|(known, _)| *known == name).map(|(_, rule)| rule);
            let refused = |why: &str| {
                let (name, value) = (excerpt(name), excerpt(value));
                Err(Refusal::forbidden(format!("the parameter `{name}` is `{value}`, and {why}")))
            };
            match rule {
                Some(Is::Flag) if ["true", "false"].contains(&value) => {}
                Some(Is::Off) if value == "false" => {}
                Some(Is::One(values)) if values.contains(&value) => {}
                Some(Is::Labelled(label)) if has_label(value, label) => {}
                Some(Is::Labelled(label)) => return refused(&format!("has to ask for the label `{label}` alone")),
                Some(Is::One(values)) => return refused(&format!("may only be one of {values:?}")),
                Some(Is::Flag | Is::Off) => return refused("is not set to this by Nexus"),
                None => return refused("Nexus does not set it"),
            }
        }
        Ok(())
    }

    /// As it is sent on: what was read, written again.
    pub(super) fn write(&self) -> String {
        Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// Whether the filters have `label` among the labels, all of which an item must have, and ask for nothing else.
fn has_label(filters: &str, label: &str) -> bool {
    let Ok(filters) = parse_object(filters.as_bytes()) else { return false };
    let labels = filters.get("label").filter(|labels| is_texts(labels)).and_then(Value::as_array);
    let is_label = |value: &Value| value.as_str().and_then(|text| text.split('=').next()) == Some(label);
    filters.len() == 1 && labels.is_some_and(|labels| labels.iter().any(is_label))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[(&str, Is)] =
        &[("all", Is::Flag), ("size", Is::Off), ("c", Is::One(&["a"])), ("filters", Is::Labelled("nexus.owner"))];

    fn checked(text: &str) -> Result<(), Refusal> {
        Query::read(text)?.check(TABLE)
    }

    #[test]
    fn a_parameter_is_what_the_table_says_or_refused() {
        for good in ["", "all=true&size=false", "c=a", "filters=%7B%22label%22%3A%5B%22nexus.owner%22%5D%7D"] {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        for bad in ["all=1", "size=true", "c=b", "c=", "d=", "all=true&all=true", "a%6Cl=true&all=true", "ALL=true"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_of_what_belongs_to_nexus() {
        for good in [r#"{"label":["nexus.owner"]}"#, r#"{"label":["nexus.owner=a","x=y"]}"#] {
            assert!(has_label(good, "nexus.owner"), "{good}");
        }
        for bad in [
            "",
            "{}",
            r#"{"label":[]}"#,
            r#"{"label":["nexus.owners"]}"#,
            r#"{"label":["nexus.owner",1]}"#,
            r#"{"label":{"nexus.owner":true}}"#,
            r#"{"label":["nexus.owner"],"label":["x"]}"#,
            r#"{"label":["nexus.owner"],"status":["running"]}"#,
        ] {
            assert!(!has_label(bad, "nexus.owner"), "{bad}");
        }
    }

    #[test]
    fn what_was_read_is_written() {
        let mut query = Query::read("a=x%20y+z&b=%26").unwrap();
        query.set("c", "{\"é\"}".to_owned());
        let written = query.write();
        let again = Query::read(&written).unwrap();
        assert_eq!((again.get("a"), again.get("b"), again.get("c")), (Some("x y z"), Some("&"), Some("{\"é\"}")));
    }
}
