//! `If-Match` and `If-None-Match` of a change (RFC 9110, 13.1).

use axum::http::{HeaderMap, HeaderName, header};
use nexus_core::Condition;
use nexus_model::Revision;

use crate::http::{Problem, error};

/// What the request asks of the state of what it changes.
pub(super) fn of(headers: &HeaderMap) -> Result<Condition, Problem> {
    match (field(headers, &header::IF_MATCH)?, field(headers, &header::IF_NONE_MATCH)?) {
        (None, None) => Ok(Condition::Unstated),
        (None, Some("*")) => Ok(Condition::Absent),
        (Some("*"), None) => Ok(Condition::Present),
        (Some(tags), None) => {
            tags.split(',').filter_map(|tag| revision(tag.trim())).collect::<Result<_, _>>().map(Condition::Revisions)
        }
        (None, Some(_)) => Err(error::invalid_parameter("with a change, `If-None-Match` can only be `*`")),
        (Some(_), Some(_)) => Err(error::invalid_parameter("`If-Match` and `If-None-Match` exclude each other")),
    }
}

/// Whether the caller has this revision already (`If-None-Match` of a `GET`).
pub(super) fn is_known(headers: &HeaderMap, revision: &Revision) -> bool {
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    let same = |tag: &str| tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == &*revision.0;
    tags.split(',').any(|tag| same(tag.trim()))
}

fn field<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut fields = headers.get_all(name).iter();
    let first = fields.next().map(|value| value.to_str());
    match (first, fields.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text.trim())),
        _ => Err(error::invalid_parameter(format!("`{name}` must be one field of plain text"))),
    }
}

/// `None` for a weak tag: none of those ever matches here (RFC 9110, 8.8.3.2).
fn revision(tag: &str) -> Option<Result<Revision, Problem>> {
    if tag.starts_with("W/") {
        return None;
    }
    let text = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let wrong = || error::invalid_parameter("`If-Match` takes revisions in quotation marks, as `ETag` tells them");
    Some(text.map(|text| Revision::from(text.to_owned())).ok_or_else(wrong))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use nexus_core::Condition;
    use nexus_model::Revision;

    use super::{is_known, of};

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn conditions_are_read_as_http_has_them() {
        let revision = |text: &str| Revision::from(text.to_owned());
        let read = |fields: &[(&'static str, &'static str)]| of(&headers(fields));
        assert_eq!(read(&[]), Ok(Condition::Unstated));
        assert_eq!(read(&[("if-none-match", "*")]), Ok(Condition::Absent));
        assert_eq!(read(&[("if-match", "*")]), Ok(Condition::Present));
        let two = Condition::Revisions(vec![revision("ab"), revision("cd")]);
        assert_eq!(read(&[("if-match", "\"ab\", \"cd\"")]), Ok(two));
        assert_eq!(read(&[("if-match", "W/\"ab\"")]), Ok(Condition::Revisions(Vec::new())), "matches nothing");
        for bad in
            [&[("if-match", "ab")][..], &[("if-none-match", "\"ab\"")], &[("if-match", "*"), ("if-none-match", "*")]]
        {
            assert_eq!(read(bad).map_err(|problem| problem.status), Err(400), "{bad:?}");
        }
    }

    #[test]
    fn a_known_revision_is_not_sent_again() {
        let revision = Revision::from("ab".to_owned());
        assert!(is_known(&headers(&[("if-none-match", "\"x\", W/\"ab\"")]), &revision));
        assert!(!is_known(&headers(&[("if-none-match", "\"abc\"")]), &revision));
        assert!(!is_known(&headers(&[]), &revision));
    }
}
