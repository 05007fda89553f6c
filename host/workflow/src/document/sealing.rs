//! JSON with expressions and references to secrets in it.

use serde::{Deserialize, Serialize};

use super::{
    node::{Node, Position},
    reader::Reader,
};
use crate::expression::{Template, enclosed, mentions};

/// A secret, which only the host opens: `${ $secrets.name.field }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// Its name, which is one of `use.secrets`.
    pub name: String,
    /// The fields that lead to a part of it.
    pub path: Vec<String>,
}

/// JSON with expressions and references to secrets in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Sealing {
    /// No secret in it.
    Open(Template),
    /// A secret.
    Secret(SecretReference),
    /// A list with secrets in it.
    List(Vec<Sealing>),
    /// Fields with secrets in them.
    Fields(Vec<(String, Sealing)>),
}

pub(super) fn read(reader: &mut Reader, node: &Node<'_>, position: Position) -> Sealing {
    if let Some(text) = node.value.as_str()
        && let Some(text) = enclosed(text).or_else(|| reader.loose.then_some(text))
        && mentions(text, "secrets")
        && let Some(secret) = reference(text)
    {
        reader.named(node, "secrets", &secret.name);
        return Sealing::Secret(secret);
    }
    if node.value.is_object() {
        let fields = node.fields().map(|(name, field)| (name.to_owned(), read(reader, &field, position)));
        return Sealing::fields(fields.collect());
    }
    if node.value.is_array() {
        let items: Vec<Sealing> = node.items().map(|item| read(reader, &item, position)).collect();
        let open: Option<Vec<Template>> = items.iter().map(|item| item.as_open().cloned()).collect();
        return open.map_or(Sealing::List(items), |items| Sealing::Open(Template::list(items)));
    }
    Sealing::Open(reader.template(node, position))
}

impl Sealing {
    pub(super) fn fields(fields: Vec<(String, Self)>) -> Self {
        let open: Option<Vec<(String, Template)>> =
            fields.iter().map(|(name, field)| Some((name.clone(), field.as_open()?.clone()))).collect();
        open.map_or(Self::Fields(fields), |fields| Self::Open(Template::fields(fields)))
    }

    fn as_open(&self) -> Option<&Template> {
        match self {
            Self::Open(template) => Some(template),
            _ => None,
        }
    }
}

/// `$secrets.name`, `$secrets.name.field`, `$secrets["name"]` and nothing else.
fn reference(text: &str) -> Option<SecretReference> {
    let mut rest = text.trim().strip_prefix("$secrets")?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, after) = if let Some(quoted) = rest.strip_prefix("[\"").or_else(|| rest.strip_prefix(".[\"")) {
            quoted.split_once("\"]")?
        } else {
            let word = rest.strip_prefix('.')?;
            let end = word.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(word.len());
            word.split_at_checked(end)?
        };
        if part.is_empty() || part.contains(['"', '\\']) {
            return None;
        }
        parts.push(part.to_owned());
        rest = after;
    }
    if parts.is_empty() {
        return None;
    }
    let name = parts.remove(0);
    Some(SecretReference { name, path: parts })
}

#[cfg(test)]
mod tests {
    use super::reference;

    #[test]
    fn a_reference_to_a_secret_is_nothing_else() {
        let read = |text| reference(text).map(|secret| (secret.name, secret.path));
        assert_eq!(read(" $secrets.a "), Some(("a".to_owned(), vec![])));
        assert_eq!(read("$secrets[\"my key\"].user"), Some(("my key".to_owned(), vec!["user".to_owned()])));
        for other in
            ["$secrets", "$secrets.a + \"b\"", "$secrets.a | length", "\"\\($secrets.a)\"", "$secrets.", "$secrets[0]"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
