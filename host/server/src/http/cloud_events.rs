//! Events as they come over HTTP, in the three modes of the binding:
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use nexus_core::MAX_BATCH;
use nexus_model::{AttributeValue, Attributes, CloudEvent, EventFault};
use serde_json::Value;

use super::{
    error,
    problem::{Problem, ViolationView},
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
const PREFIX: &str = "ce-";

/// The events of a request: one in binary or structured mode, up to 100 in a batch.
pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Vec<CloudEvent>, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = media_type.as_deref().and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    match essence.as_str() {
        STRUCTURED => {
            let event = CloudEvent::from_json(json(body)?);
            event.map(|event| vec![event]).map_err(|faults| invalid(violations("", &faults)))
        }
        BATCHED => batch(json(body)?),
        other if other.starts_with("application/cloudevents") => Err(unsupported()),
        _ if headers.contains_key("ce-specversion") || headers.contains_key("ce-type") => {
            let event = binary(headers, media_type.as_deref(), body);
            event.map(|event| vec![event]).map_err(|faults| invalid(violations("", &faults)))
        }
        _ => Err(unsupported()),
    }
}

fn json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| error::invalid_json(error.to_string()))
}

fn batch(value: Value) -> Result<Vec<CloudEvent>, Problem> {
    let Value::Array(items) = value else { return Err(error::invalid_json("a batch is a JSON array of events")) };
    if items.len() > MAX_BATCH {
        let detail = format!("the batch has {} events, at most {MAX_BATCH} are taken at one time", items.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large", "The batch is too large", detail));
    }
    let (mut events, mut wrong) = (Vec::with_capacity(items.len()), Vec::new());
    for (number, item) in items.into_iter().enumerate() {
        match CloudEvent::from_json(item) {
            Ok(event) => events.push(event),
            Err(faults) => wrong.extend(violations(&format!("/{number}"), &faults)),
        }
    }
    if wrong.is_empty() { Ok(events) } else { Err(invalid(wrong)) }
}

/// Attributes in header fields, data in the body.
fn binary(headers: &HeaderMap, media_type: Option<&str>, body: &[u8]) -> Result<CloudEvent, Vec<EventFault>> {
    let (mut attributes, mut faults) = (Attributes::new(), Vec::new());
    for name in headers.keys().filter(|name| name.as_str().starts_with(PREFIX)) {
        match field(headers, name) {
            Ok((attribute, value)) => {
                attributes.insert(attribute, AttributeValue::Text(value));
            }
            Err(fault) => faults.push(fault),
        }
    }
    if let Some(media_type) = media_type {
        attributes.insert("datacontenttype".to_owned(), AttributeValue::Text(media_type.to_owned()));
    }
    let data = CloudEvent::data_from_body(body, media_type).unwrap_or_else(|fault| {
        faults.push(fault);
        nexus_model::EventData::None
    });
    match CloudEvent::from_attributes(attributes, data) {
        Ok(event) if faults.is_empty() => Ok(event),
        Ok(_) => Err(faults),
        Err(more) => Err(faults.into_iter().chain(more).collect()),
    }
}

fn field(headers: &HeaderMap, name: &HeaderName) -> Result<(String, String), EventFault> {
    let attribute = &name.as_str()[PREFIX.len()..];
    let fault = |message: &str| EventFault::new(attribute, message);
    let mut values = headers.get_all(name).iter();
    match (attribute, values.next().and_then(|value| value.to_str().ok()), values.next()) {
        ("datacontenttype", _, _) => Err(fault("is the field `Content-Type` in this mode")),
        (_, _, Some(_)) => Err(fault("is there twice")),
        (_, Some(value), None) => decoded(value)
            .map(|value| (attribute.to_owned(), value))
            .ok_or_else(|| fault("is not percent-encoded UTF-8")),
        (_, None, None) => Err(fault("is not plain text; other characters are percent-encoded")),
    }
}

/// Undoes quotes (RFC 9110), then percent-encoding (section 3.1.3.2 of the binding).
fn decoded(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let mut unquoted = String::with_capacity(value.len());
    let mut chars = inner.unwrap_or(value).chars();
    while let Some(c) = chars.next() {
        unquoted.push(if c == '\\' && inner.is_some() { chars.next()? } else { c });
    }
    let bytes = unquoted.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%' {
            let digits = bytes.get(at + 1..at + 3)?;
            decoded.extend(hex::decode(digits).ok()?);
            at += 3;
        } else {
            decoded.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

fn violations(at: &str, faults: &[EventFault]) -> Vec<ViolationView> {
    let one =
        |fault: &EventFault| ViolationView { path: format!("{at}/{}", fault.attribute), message: fault.to_string() };
    faults.iter().map(one).collect()
}

fn invalid(violations: Vec<ViolationView>) -> Problem {
    const MOST: usize = 50;
    let detail = match violations.as_slice() {
        [one] => format!("{}: {}", one.path, one.message),
        many => format!("{} faults", many.len()),
    };
    let title = "This is not an event by CloudEvents 1.0";
    let violations = violations.into_iter().take(MOST).collect();
    Problem { violations, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_event", title, detail) }
}

fn unsupported() -> Problem {
    let detail = "neither `Content-Type` nor a field `ce-specversion` says that this is an event";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be an event", detail)
        .hint(format!("send `Content-Type: {STRUCTURED}` or `{BATCHED}`, or the attributes in fields `ce-…`"))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use nexus_model::EventData;
    use serde_json::json;

    use super::{decoded, read};

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    const BINARY: [(&str, &str); 5] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.placed"),
        ("content-type", "application/json"),
    ];

    #[test]
    fn a_field_is_unquoted_and_decoded() {
        assert_eq!(decoded("Euro%20%E2%82%AC%20%F0%9F%98%80").as_deref(), Some("Euro € 😀"));
        assert_eq!(decoded(r#""a \"b\" c""#).as_deref(), Some(r#"a "b" c"#));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn three_modes_say_the_same() {
        let binary = read(&headers(&BINARY), br#"{"total":1}"#).unwrap();
        let event = json!({
            "specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed",
            "datacontenttype": "application/json", "data": { "total": 1 },
        });
        let structured = [("content-type", "application/cloudevents+json; charset=UTF-8")];
        assert_eq!(read(&headers(&structured), event.to_string().as_bytes()).unwrap(), binary);
        let batched = [("content-type", "application/cloudevents-batch+json")];
        assert_eq!(read(&headers(&batched), json!([event]).to_string().as_bytes()).unwrap(), binary);
        assert_eq!(binary[0].data, EventData::Json(json!({ "total": 1 })));
        assert!(read(&headers(&batched), b"[]").unwrap().is_empty());
    }

    #[test]
    fn faults_name_the_attribute_and_its_place_in_the_batch() {
        let mut fields = BINARY.to_vec();
        fields[1].1 = "%";
        fields.push(("ce-my-ext", "x"));
        let problem = read(&headers(&fields), b"{").unwrap_err();
        let mut paths: Vec<&str> = problem.violations.iter().map(|violation| violation.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths, ["/data", "/id", "/my-ext"]);

        let batched = headers(&[("content-type", "application/cloudevents-batch+json")]);
        let good = json!({ "specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed" });
        let mut bad = good.clone();
        bad["source"] = json!("not a reference");
        let problem = read(&batched, json!([good, bad]).to_string().as_bytes()).unwrap_err();
        assert_eq!((problem.status, problem.violations[0].path.as_str()), (422, "/1/source"));
        let many = json!(vec![good; 101]).to_string();
        assert_eq!(read(&batched, many.as_bytes()).unwrap_err().status, 413);
        for (fields, status) in [
            (&[("content-type", "application/json")][..], 415),
            (&[("content-type", "application/cloudevents+avro")][..], 415),
            (&[][..], 415),
        ] {
            assert_eq!(read(&headers(fields), b"{}").unwrap_err().status, status);
        }
    }
}
