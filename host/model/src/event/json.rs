//! The JSON format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;

use super::{AttributeValue, Attributes, CloudEvent, EventData, EventFault};

/// Whether a media type declares JSON: `application/json`, `text/json` and every `…+json` (RFC 6839).
pub(crate) fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.split_once('/').map(|(_, subtype)| subtype);
    subtype.is_some_and(|subtype| subtype == "json" || (subtype.len() > 5 && subtype.ends_with("+json")))
}

impl CloudEvent {
    /// Reads the structured form. The error holds every fault, never none.
    pub fn from_json(value: Value) -> Result<Self, Vec<EventFault>> {
        let Value::Object(mut fields) = value else {
            return Err(vec![EventFault::new("event", "must be a JSON object")]);
        };
        let data = (fields.remove("data"), fields.remove("data_base64"));
        let (attributes, mut faults) = attributes(fields);
        let media_type = attributes.get("datacontenttype").map(|value| value.text().into_owned());
        let data = read_data(data, media_type.as_deref()).unwrap_or_else(|fault| {
            faults.push(fault);
            EventData::None
        });
        match Self::from_attributes(attributes, data) {
            Ok(event) if faults.is_empty() => Ok(event),
            Ok(_) => Err(faults),
            Err(more) => {
                // What has the wrong type was told already, and is not missing as well.
                let told: Vec<String> = faults.iter().map(|fault| fault.attribute.clone()).collect();
                faults.extend(more.into_iter().filter(|fault| !told.contains(&fault.attribute)));
                Err(faults)
            }
        }
    }

    /// The data of a message in binary mode, as the media type says.
    pub fn data_from_body(body: &[u8], media_type: Option<&str>) -> Result<EventData, EventFault> {
        match (body, media_type) {
            ([], _) => Ok(EventData::None),
            (body, Some(media_type)) if is_json(media_type) => serde_json::from_slice(body)
                .map(EventData::Json)
                .map_err(|error| EventFault::new("data", format!("is not the JSON that its media type says: {error}"))),
            (body, Some(media_type)) if media_type.to_ascii_lowercase().starts_with("text/") => {
                Ok(std::str::from_utf8(body)
                    .map_or_else(|_| EventData::Binary(body.to_vec()), |text| EventData::Text(text.to_owned())))
            }
            (body, _) => Ok(EventData::Binary(body.to_vec())),
        }
    }

    /// The structured form.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), Value::String(value));
            }
        };
        put("specversion", Some("1.0".to_owned()));
        put("id", Some(self.id.clone()));
        put("source", Some(self.source.clone()));
        put("type", Some(self.kind.clone()));
        put("subject", self.subject.clone());
        put("time", self.time.and_then(|time| time.format(&Rfc3339).ok()));
        put("datacontenttype", self.datacontenttype.clone());
        put("dataschema", self.dataschema.clone());
        for (name, value) in &self.extensions {
            let value = match value {
                AttributeValue::Boolean(value) => Value::Bool(*value),
                AttributeValue::Integer(value) => (*value).into(),
                AttributeValue::Text(text) => Value::String(text.clone()),
            };
            fields.insert(name.clone(), value);
        }
        match &self.data {
            EventData::None => {}
            EventData::Json(value) => {
                fields.insert("data".to_owned(), value.clone());
            }
            EventData::Text(text) => {
                fields.insert("data".to_owned(), Value::String(text.clone()));
            }
            EventData::Binary(bytes) => {
                fields.insert("data_base64".to_owned(), Value::String(BASE64.encode(bytes)));
            }
        }
        Value::Object(fields)
    }
}

fn attributes(fields: Map<String, Value>) -> (Attributes, Vec<EventFault>) {
    let mut faults = Vec::new();
    let mut attributes = Attributes::new();
    for (name, value) in fields {
        let value = match value {
            Value::Null => continue,
            Value::Bool(value) => AttributeValue::Boolean(value),
            Value::String(text) => AttributeValue::Text(text),
            Value::Number(number) => {
                let Some(number) = number.as_i64().and_then(|number| i32::try_from(number).ok()) else {
                    faults.push(EventFault::new(&name, "must be a whole number of 32 bits"));
                    continue;
                };
                AttributeValue::Integer(number)
            }
            Value::Array(_) | Value::Object(_) => {
                faults.push(EventFault::new(&name, "must be text, a whole number, true or false"));
                continue;
            }
        };
        attributes.insert(name, value);
    }
    (attributes, faults)
}

fn read_data(data: (Option<Value>, Option<Value>), media_type: Option<&str>) -> Result<EventData, EventFault> {
    match data {
        (Some(_), Some(_)) => Err(EventFault::new("data_base64", "and `data` exclude each other")),
        (None, None) => Ok(EventData::None),
        (None, Some(Value::String(text))) => BASE64
            .decode(text)
            .map(EventData::Binary)
            .map_err(|error| EventFault::new("data_base64", format!("must be base64 (RFC 4648): {error}"))),
        (None, Some(_)) => Err(EventFault::new("data_base64", "must be text")),
        (Some(value), None) if media_type.is_none_or(is_json) => Ok(EventData::Json(value)),
        (Some(Value::String(text)), None) => Ok(EventData::Text(text)),
        (Some(_), None) => Err(EventFault::new("data", "must be text, as `datacontenttype` does not declare JSON")),
    }
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CloudEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(Value::deserialize(deserializer)?).map_err(|faults| {
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            D::Error::custom(texts.join("; "))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CloudEvent, EventData, is_json};

    fn event(changes: &serde_json::Value) -> serde_json::Value {
        let mut event = json!({ "specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed" });
        event.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        event
    }

    #[test]
    fn what_is_read_is_written_again() {
        for changes in [
            json!({}),
            json!({ "subject": "7", "time": "2026-03-01T08:00:00Z", "dataschema": "urn:x:y" }),
            json!({ "data": { "total": 12 }, "datacontenttype": "application/json" }),
            json!({ "data": null }),
            json!({ "data": "<a/>", "datacontenttype": "application/xml" }),
            json!({ "data_base64": "AAEC", "datacontenttype": "application/octet-stream" }),
            json!({ "partitionkey": "p", "sampledrate": 30, "urgent": true }),
        ] {
            let value = event(&changes);
            let read = CloudEvent::from_json(value.clone()).unwrap();
            assert_eq!(read.to_json(), value);
        }
    }

    #[test]
    fn every_fault_is_told_once() {
        let wrong = event(&json!({
            "id": [1], "rate": 1.5, "data": 1, "data_base64": "AA==", "time": "now", "subject": null,
        }));
        let faults = CloudEvent::from_json(wrong).unwrap_err();
        let mut names: Vec<&str> = faults.iter().map(|fault| fault.attribute.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["data_base64", "id", "rate", "time"]);
        assert!(CloudEvent::from_json(event(&json!({ "data": 1, "datacontenttype": "text/plain" }))).is_err());
        assert!(CloudEvent::from_json(event(&json!({ "data_base64": "?" }))).is_err());
        assert!(CloudEvent::from_json(json!([])).is_err());
    }

    #[test]
    fn a_body_is_what_its_media_type_says() {
        let read = |body: &[u8], media_type| CloudEvent::data_from_body(body, media_type);
        assert_eq!(read(b"", Some("application/json")), Ok(EventData::None));
        assert_eq!(read(b"[1]", Some("application/json; charset=utf-8")), Ok(EventData::Json(json!([1]))));
        assert_eq!(read(b"hi", Some("text/plain")), Ok(EventData::Text("hi".to_owned())));
        assert_eq!(read(b"\xff", Some("text/plain")), Ok(EventData::Binary(vec![255])));
        assert_eq!(read(b"hi", None), Ok(EventData::Binary(b"hi".to_vec())));
        assert!(read(b"{", Some("application/vnd.x+json")).is_err());
        assert!(is_json("Application/JSON") && is_json("text/json") && !is_json("application/jsonx"));
    }
}
