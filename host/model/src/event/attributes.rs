//! The rules for attributes: names, types, and which there must be.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{CloudEvent, EventData};

/// The longest value of an attribute, in bytes. The specification leaves it open; what is kept needs a bound.
const MAX_VALUE: usize = 2_048;
/// The longest name of an attribute.
const MAX_NAME: usize = 64;
/// The most extension attributes of one event.
const MAX_EXTENSIONS: usize = 50;

/// The value of an attribute. Bytes, URIs and times are text in every format that Nexus reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// True or false.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Text.
    Text(String),
}

impl AttributeValue {
    /// The canonical text of the value.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Boolean(value) => Cow::Owned(value.to_string()),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }
}

/// Attributes by name, not looked at yet.
pub type Attributes = BTreeMap<String, AttributeValue>;

/// One way in which something is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{attribute}` {message}")]
pub struct EventFault {
    /// The attribute's name; `data` and `data_base64` too.
    pub attribute: String,
    /// What is wrong with it, as the rest of a sentence.
    pub message: String,
}

impl EventFault {
    /// A fault of this attribute.
    pub fn new(attribute: &str, message: impl Into<String>) -> Self {
        Self { attribute: attribute.chars().take(MAX_NAME).collect(), message: message.into() }
    }
}

impl CloudEvent {
    /// Checks attributes and makes an event of them. The error holds every fault, never none.
    pub fn from_attributes(attributes: Attributes, data: EventData) -> Result<Self, Vec<EventFault>> {
        let mut reader = Reader { attributes, faults: Vec::new() };
        let version = reader.required("specversion", |_| None);
        if version.as_deref().is_some_and(|version| version != "1.0") {
            reader.fault("specversion", "must be `1.0`");
        }
        let id = reader.required("id", |_| None);
        let source = reader.required("source", uri_reference);
        let kind = reader.required("type", |_| None);
        let subject = reader.optional("subject", |_| None);
        let datacontenttype = reader.optional("datacontenttype", media_type);
        let dataschema = reader.optional("dataschema", uri);
        let time = reader.time();
        let extensions = reader.extensions();
        match (id, source, kind, reader.faults) {
            (Some(id), Some(source), Some(kind), faults) if faults.is_empty() => {
                Ok(Self { id, source, kind, subject, time, datacontenttype, dataschema, extensions, data })
            }
            (_, _, _, faults) => Err(faults),
        }
    }
}

/// What is wrong with a text, as the rest of a sentence.
type Check = fn(&str) -> Option<&'static str>;

struct Reader {
    attributes: Attributes,
    faults: Vec<EventFault>,
}

impl Reader {
    fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(EventFault::new(name, message));
    }

    fn required(&mut self, name: &str, check: Check) -> Option<String> {
        if !self.attributes.contains_key(name) {
            self.fault(name, "is missing");
        }
        self.optional(name, check)
    }

    fn optional(&mut self, name: &str, check: Check) -> Option<String> {
        let wrong = match self.attributes.remove(name)? {
            AttributeValue::Text(text) => match bad_text(&text).or_else(|| check(&text)) {
                None => return Some(text),
                Some(wrong) => wrong,
            },
            AttributeValue::Boolean(_) | AttributeValue::Integer(_) => "must be text",
        };
        self.fault(name, wrong);
        None
    }

    fn time(&mut self) -> Option<OffsetDateTime> {
        let text = self.optional("time", |_| None)?;
        let parsed = OffsetDateTime::parse(&text, &Rfc3339);
        if parsed.is_err() {
            self.fault("time", "must be a time by RFC 3339, as `2026-03-01T08:00:00Z`");
        }
        parsed.ok()
    }

    /// Whatever is left.
    fn extensions(&mut self) -> Attributes {
        let rest = std::mem::take(&mut self.attributes);
        if rest.len() > MAX_EXTENSIONS {
            self.fault("extensions", format!("are {}, at most {MAX_EXTENSIONS} are taken", rest.len()));
        }
        for (name, value) in rest.iter().take(MAX_EXTENSIONS) {
            if let Some(wrong) = bad_name(name) {
                self.fault(name, wrong);
            } else if let AttributeValue::Text(text) = value
                && let Some(wrong) = bad_text(text)
            {
                self.fault(name, wrong);
            }
        }
        rest
    }
}

fn bad_name(name: &str) -> Option<&'static str> {
    let well_formed = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match (well_formed, name) {
        (_, "data" | "data_base64") => Some("is not the name of an attribute"),
        (true, _) => None,
        (false, _) => Some("is not the name of an attribute: use 1 to 64 of a-z and 0-9"),
    }
}

/// The type `String` of the specification: not empty, no control characters, no noncharacters.
fn bad_text(text: &str) -> Option<&'static str> {
    let forbidden = |c: char| {
        let code = u32::from(c);
        c.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
    };
    if text.is_empty() {
        Some("must not be empty")
    } else if text.len() > MAX_VALUE {
        Some("is longer than 2,048 bytes")
    } else if text.contains(forbidden) {
        Some("holds characters that an attribute must not hold")
    } else {
        None
    }
}

/// By the characters of RFC 3986: what no URI reference could hold is refused.
fn uri_reference(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let good = bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
    });
    (!good).then_some("must be a URI reference (RFC 3986)")
}

fn uri(text: &str) -> Option<&'static str> {
    let scheme = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).map(|(scheme, _)| scheme.as_bytes());
    let absolute = scheme.is_some_and(|scheme| {
        scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
    });
    if absolute { uri_reference(text) } else { Some("must be an absolute URI (RFC 3986)") }
}

/// `type/subtype`, perhaps with parameters, by the characters of RFC 2045.
fn media_type(text: &str) -> Option<&'static str> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte))
    };
    let good = essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    (!good).then_some("must be a media type, as `application/json`")
}

#[cfg(test)]
mod tests {
    use super::{AttributeValue, Attributes, CloudEvent, EventData};

    fn attributes(changes: &[(&str, &str)]) -> Attributes {
        let good = [("specversion", "1.0"), ("id", "1"), ("source", "/shop"), ("type", "order.placed")];
        let all = good.iter().chain(changes);
        all.map(|(name, value)| ((*name).to_owned(), AttributeValue::Text((*value).to_owned()))).collect()
    }

    fn faults(attributes: Attributes) -> Vec<String> {
        let refused = CloudEvent::from_attributes(attributes, EventData::None);
        refused.err().unwrap_or_default().into_iter().map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn what_the_specification_asks_for_is_asked_for() {
        assert!(faults(attributes(&[])).is_empty());
        assert_eq!(
            faults(Attributes::new()),
            ["`specversion` is missing", "`id` is missing", "`source` is missing", "`type` is missing"]
        );
        for (name, value) in [
            ("specversion", "0.3"),
            ("id", ""),
            ("id", "a\u{7}b"),
            ("id", "a\u{ffff}"),
            ("source", "two words"),
            ("source", "%zz"),
            ("time", "yesterday"),
            ("time", "2026-03-01"),
            ("dataschema", "schema.json"),
            ("datacontenttype", "json"),
            ("subject", ""),
            ("myExtension", "x"),
            ("my-ext", "x"),
            ("data", "x"),
        ] {
            let found = faults(attributes(&[(name, value)]));
            assert_eq!(found.len(), 1, "{name}={value}: {found:?}");
            assert!(found[0].starts_with(&format!("`{name}` ")), "{found:?}");
        }
        let mut wrong = attributes(&[]);
        wrong.insert("subject".to_owned(), AttributeValue::Integer(1));
        assert_eq!(faults(wrong), ["`subject` must be text"]);
    }

    #[test]
    fn what_the_specification_allows_is_allowed() {
        for (name, value) in [
            ("source", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"),
            ("source", "https://example.com/a%20b?c#d"),
            ("source", "sensors/tn-1234567/alerts"),
            ("time", "2026-03-01T08:00:00.123456+01:00"),
            ("dataschema", "https://example.com/schema.json"),
            ("datacontenttype", "text/plain; charset=utf-8"),
            ("subject", "größer"),
            ("partitionkey", "customer-7"),
            ("x9", "1"),
        ] {
            assert!(faults(attributes(&[(name, value)])).is_empty(), "{name}={value}");
        }
    }

    #[test]
    fn order_is_by_partition_key_then_by_subject() {
        let event =
            |changes: &[(&str, &str)]| CloudEvent::from_attributes(attributes(changes), EventData::None).unwrap();
        assert_eq!(event(&[]).order_key(), None);
        assert_eq!(event(&[("subject", "s")]).order_key().as_deref(), Some("s"));
        assert_eq!(event(&[("subject", "s"), ("partitionkey", "p")]).order_key().as_deref(), Some("p"));
    }
}
