//! From an answer over HTTP to an output.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::resolve::scalar;
use crate::{
    document::HttpOutput,
    effects::{HttpAnswer, Sealed},
    error::{ErrorType, WorkflowError},
    fault::cut,
};

/// Parameters of a query. A list gives one for each of its items; `null` gives none.
pub(super) fn query(fields: Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        let values = match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            one => vec![one],
        };
        for value in values {
            let text = scalar(&value).ok_or_else(|| format!("the parameter `{}` is not a text", cut(&name, 60)))?;
            pairs.push((name.clone(), text));
        }
    }
    Ok(pairs)
}

/// The headers of a request that its workflow may see: those without secrets.
pub(super) fn shown_headers(headers: &BTreeMap<String, Sealed>) -> Value {
    let shown = headers.iter().filter_map(|(name, value)| match value {
        Sealed::Plain(value) => Some((name.clone(), value.clone())),
        _ => None,
    });
    Value::Object(shown.collect())
}

/// The output of a call, or the error that its status is.
pub(super) fn output(
    answer: Value,
    headers: &Value,
    output: HttpOutput,
    redirect: bool,
) -> Result<Value, WorkflowError> {
    let unreadable =
        |why: String| WorkflowError::new(ErrorType::Communication, format!("the answer is unreadable: {why}"));
    let answer: HttpAnswer = serde_json::from_value(answer).map_err(|error| unreadable(error.to_string()))?;
    let most = if redirect { 399 } else { 299 };
    if !(200..=most).contains(&answer.status) {
        let detail = format!("{} {} was answered with status {}", answer.method, cut(&answer.url, 300), answer.status);
        let status = if (100..=599).contains(&answer.status) { answer.status } else { 500 };
        return Err(WorkflowError::new(ErrorType::Communication, detail).with_status(status));
    }
    if output == HttpOutput::Raw {
        return Ok(Value::String(answer.body));
    }
    let content = content(&answer).map_err(unreadable)?;
    Ok(match output {
        HttpOutput::Response => json!({
            "request": {"method": answer.method, "uri": answer.url, "headers": headers},
            "statusCode": answer.status,
            "headers": answer.headers,
            "content": content,
        }),
        _ => content,
    })
}

/// JSON as what it says, text as a text, anything else in Base64; nothing as `null`.
fn content(answer: &HttpAnswer) -> Result<Value, String> {
    let kind = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let kind = kind.map(|(_, kind)| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let kind = kind.unwrap_or_default();
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    let body = || STANDARD.decode(&answer.body).map_err(|error| error.to_string());
    if kind == "application/json" || kind.ends_with("+json") {
        return serde_json::from_slice(&body()?).map_err(|error| error.to_string());
    }
    if kind.starts_with("text/") {
        return Ok(Value::String(String::from_utf8_lossy(&body()?).into_owned()));
    }
    Ok(Value::String(answer.body.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{HttpOutput, output, query};

    fn answer(status: u16, kind: &str, body: &str) -> Value {
        json!({"method": "GET", "url": "https://a", "status": status, "headers": {"content-type": kind}, "body": body})
    }

    fn content(answer: Value) -> Value {
        output(answer, &json!({}), HttpOutput::Content, false).unwrap()
    }

    #[test]
    fn content_is_read_by_its_type() {
        assert_eq!(content(answer(200, "application/json; charset=utf-8", "eyJhIjoxfQ==")), json!({"a": 1}));
        assert_eq!(content(answer(200, "text/plain", "YQ==")), json!("a"));
        assert_eq!(content(answer(200, "image/png", "YQ==")), json!("YQ=="));
        assert_eq!(content(answer(204, "", "")), Value::Null);
        assert_eq!(
            output(answer(200, "text/plain", "YQ=="), &json!({}), HttpOutput::Raw, false).unwrap(),
            json!("YQ==")
        );
        assert!(output(answer(200, "application/json", "YQ=="), &json!({}), HttpOutput::Content, false).is_err());
    }

    #[test]
    fn statuses_are_errors_by_the_rules_of_redirect() {
        for (status, redirect, well) in [(302, false, false), (302, true, true), (404, true, false), (201, false, true)]
        {
            let result = output(answer(status, "text/plain", ""), &json!({}), HttpOutput::Content, redirect);
            assert_eq!(result.is_ok(), well, "{status}");
            if let Err(error) = result {
                assert_eq!(error.status, status);
            }
        }
    }

    #[test]
    fn queries_are_texts() {
        let fields = json!({"a": [1, true], "b": "x", "c": null}).as_object().unwrap().clone();
        let pairs: Vec<String> = query(fields).unwrap().into_iter().map(|(name, value)| name + "=" + &value).collect();
        assert_eq!(pairs, ["a=1", "a=true", "b=x"]);
        assert!(query(json!({"a": {}}).as_object().unwrap().clone()).is_err());
    }
}
