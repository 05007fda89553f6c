//! Events by `CloudEvents` 1.0.2: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>.

mod attributes;
mod filter;
mod json;

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

pub use attributes::{AttributeValue, Attributes, EventFault};
pub use filter::EventFilter;
pub(crate) use json::is_json;

/// The prefix of the types that only Nexus itself publishes.
pub const RESERVED_TYPES: &str = "nexus.";

/// What an event carries.
#[derive(Debug, Clone, PartialEq)]
pub enum EventData {
    /// Nothing.
    None,
    /// A JSON value.
    Json(Value),
    /// Text of another media type.
    Text(String),
    /// Bytes of another media type.
    Binary(Vec<u8>),
}

/// An event whose attributes satisfy the specification: made by [`CloudEvent::now`], or read with
/// [`CloudEvent::from_json`] or [`CloudEvent::from_attributes`], which refuse what does not.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudEvent {
    /// With the source it names the event.
    pub id: String,
    /// Where it happened: a URI reference such as `/v1/apps/support`.
    pub source: String,
    /// What happened: the attribute `type`, such as `nexus.optimization.promoted`.
    pub kind: String,
    /// To what, such as the operation's name.
    pub subject: Option<String>,
    /// When.
    pub time: Option<OffsetDateTime>,
    /// The media type of the data.
    pub datacontenttype: Option<String>,
    /// A URI of the schema of the data.
    pub dataschema: Option<String>,
    /// Attributes that the specification does not know.
    pub extensions: BTreeMap<String, AttributeValue>,
    /// What it carries.
    pub data: EventData,
}

impl CloudEvent {
    /// An event of this host that happens now. The id is unique and sorts by time.
    pub fn now(kind: impl Into<String>, source: impl Into<String>, subject: impl Into<String>, data: Value) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            source: source.into(),
            kind: kind.into(),
            subject: Some(subject.into()),
            time: Some(OffsetDateTime::now_utc()),
            datacontenttype: Some("application/json".to_owned()),
            dataschema: None,
            extensions: BTreeMap::new(),
            data: EventData::Json(data),
        }
    }

    /// Whether the type is one that only Nexus itself publishes.
    pub fn is_reserved(&self) -> bool {
        self.kind.starts_with(RESERVED_TYPES)
    }

    /// An attribute as text, as the filter dialects compare it; `None` where it is not set.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "specversion" => Some(Cow::Borrowed("1.0")),
            "id" => Some(Cow::Borrowed(&self.id)),
            "source" => Some(Cow::Borrowed(&self.source)),
            "type" => Some(Cow::Borrowed(&self.kind)),
            "subject" => self.subject.as_deref().map(Cow::Borrowed),
            "time" => self.time.and_then(|time| time.format(&Rfc3339).ok()).map(Cow::Owned),
            "datacontenttype" => self.datacontenttype.as_deref().map(Cow::Borrowed),
            "dataschema" => self.dataschema.as_deref().map(Cow::Borrowed),
            name => self.extensions.get(name).map(AttributeValue::text),
        }
    }

    /// What events are kept in order by: the extension `partitionkey`
    /// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/partitioning.md>), otherwise the subject.
    /// `None`: in no order.
    pub fn order_key(&self) -> Option<Cow<'_, str>> {
        self.attribute("partitionkey").or_else(|| self.attribute("subject"))
    }

    /// The data as JSON: text and bytes that are JSON as what they say, other text as a string, no data as null. `None`
    /// for bytes that are neither.
    pub fn data_as_json(&self) -> Option<Value> {
        match &self.data {
            EventData::None => Some(Value::Null),
            EventData::Json(value) => Some(value.clone()),
            EventData::Text(text) => Some(Value::String(text.clone())),
            EventData::Binary(bytes) => {
                let said_json = self.datacontenttype.as_deref().is_none_or(is_json);
                said_json.then(|| serde_json::from_slice(bytes).ok()).flatten()
            }
        }
    }
}
