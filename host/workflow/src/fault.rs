//! What is wrong with a document, and where.

use std::fmt;

use serde::Serialize;

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A field that the language does not have.
    UnknownField,
    /// A field that the language asks for.
    MissingField,
    /// A value of another type.
    WrongType,
    /// A value of the right type that is none of those allowed.
    BadValue,
    /// A number, length or duration outside its range, or a document larger than is read.
    OutOfRange,
    /// An expression that does not parse, or uses what is not there.
    BadExpression,
    /// A JSON Schema that is not one.
    BadSchema,
    /// A name that refers to nothing.
    UnknownName,
    /// What the language has and Nexus does not, or does not without a grant.
    Unsupported,
}

/// One fault of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, as a JSON Pointer (RFC 6901) into the document.
    pub pointer: String,
    /// What kind of fault.
    pub kind: FaultKind,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: Option<String>,
    /// The name that was probably meant.
    pub meant: Option<String>,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), kind, message: message.into(), expected: None, meant: None }
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn among<'a>(mut self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        self.meant = nearest(name, candidates);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{place}: {}", self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        match &self.meant {
            Some(meant) => write!(f, " (did you mean `{meant}`?)"),
            None => Ok(()),
        }
    }
}

/// The candidate with the smallest edit distance, if at most a third of the name's characters differ (one at least
/// may, four at most). The first of equals wins.
fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    let allowed = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && *candidate != name)
        .map(|candidate| (strsim::osa_distance(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// "`a`, `b` or `c`"; the first dozen of many.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", cut(name, 60))).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, first)) if names.len() <= MOST => format!("{} or {last}", first.join(", ")),
        Some((_, first)) => {
            format!(
                "{} or {} more",
                first.iter().take(MOST).cloned().collect::<Vec<_>>().join(", "),
                names.len() - MOST
            )
        }
    }
}

/// The first `most` characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultKind, listed};

    #[test]
    fn a_fault_reads_like_a_sentence() {
        let fault = Fault::new(FaultKind::UnknownField, "/do/0/a", "`sett` is not a kind of task")
            .expected(listed(["set", "do"]))
            .among("sett", ["set", "do"]);
        assert_eq!(
            fault.to_string(),
            "/do/0/a: `sett` is not a kind of task; expected `set` or `do` (did you mean `set`?)"
        );
    }
}
