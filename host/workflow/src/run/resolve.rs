//! From templates to values.

use std::collections::BTreeMap;

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value};

use super::scope::{Frame, Run, State, Stop};
use crate::{
    document::{Authentication, Endpoint, Part, Sealing, Url},
    effects::{Credentials, Resource, Sealed},
    error::ErrorType,
    expression::Template,
};

impl Run<'_> {
    /// The value of a template, whose expressions are evaluated on `input`.
    pub(super) fn resolve<'r>(
        &'r self,
        template: &'r Template,
        input: &'r Value,
        frame: &'r Frame<'_>,
        state: &'r State,
    ) -> BoxFuture<'r, Result<Value, Stop>> {
        async move {
            match template {
                Template::Plain(value) => Ok(value.clone()),
                Template::Expression(expression) => self.evaluate(expression, input, frame, state).await,
                Template::Loose(expression, text) => match self.evaluate(expression, input, frame, state).await {
                    Err(Stop::Error(_)) => Ok(Value::String(text.clone())),
                    other => other,
                },
                Template::List(items) => {
                    let mut list = Vec::with_capacity(items.len());
                    for item in items {
                        list.push(self.resolve(item, input, frame, state).await?);
                    }
                    self.bounded(Value::Array(list), frame.pointer)
                }
                Template::Fields(fields) => {
                    let mut object = Map::new();
                    for (name, field) in fields {
                        object.insert(name.clone(), self.resolve(field, input, frame, state).await?);
                    }
                    self.bounded(Value::Object(object), frame.pointer)
                }
            }
        }
        .boxed()
    }

    /// The text of a template.
    pub(super) async fn text(
        &self,
        what: &str,
        template: &Template,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<String, Stop> {
        match self.resolve(template, frame.data(), frame, state).await? {
            Value::String(text) => Ok(text),
            _ => Err(Stop::error(ErrorType::Expression, format!("`{what}` is not a text"), frame.pointer)),
        }
    }

    /// The fields of a template.
    pub(super) async fn object(
        &self,
        what: &str,
        template: &Template,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<Map<String, Value>, Stop> {
        match self.resolve(template, frame.data(), frame, state).await? {
            Value::Object(fields) => Ok(fields),
            Value::Null => Ok(Map::new()),
            _ => Err(Stop::error(ErrorType::Expression, format!("`{what}` is not an object"), frame.pointer)),
        }
    }

    /// A value with secrets in it, which stay references.
    pub(super) fn sealed<'r>(
        &'r self,
        sealing: &'r Sealing,
        frame: &'r Frame<'_>,
        state: &'r State,
    ) -> BoxFuture<'r, Result<Sealed, Stop>> {
        async move {
            Ok(match sealing {
                Sealing::Open(template) => Sealed::Plain(self.resolve(template, frame.data(), frame, state).await?),
                Sealing::Secret(secret) => Sealed::Secret(secret.clone()),
                Sealing::List(items) => {
                    let mut list = Vec::with_capacity(items.len());
                    for item in items {
                        list.push(self.sealed(item, frame, state).await?);
                    }
                    Sealed::List(list)
                }
                Sealing::Fields(fields) => {
                    let mut map = BTreeMap::new();
                    for (name, field) in fields {
                        map.insert(name.clone(), self.sealed(field, frame, state).await?);
                    }
                    Sealed::Map(map)
                }
            })
        }
        .boxed()
    }

    /// Headers, or an environment: fields whose values are texts or secrets.
    pub(super) async fn sealed_texts(
        &self,
        what: &str,
        sealing: &Sealing,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<BTreeMap<String, Sealed>, Stop> {
        let fields: BTreeMap<String, Sealed> = match self.sealed(sealing, frame, state).await? {
            Sealed::Map(fields) => fields,
            Sealed::Plain(Value::Object(fields)) => {
                fields.into_iter().map(|(name, value)| (name, Sealed::Plain(value))).collect()
            }
            Sealed::Plain(Value::Null) => BTreeMap::new(),
            _ => {
                let detail = format!("`{what}` is not an object");
                return Err(Stop::error(ErrorType::Expression, detail, frame.pointer));
            }
        };
        let mut texts = BTreeMap::new();
        for (name, value) in fields {
            let value = match value {
                Sealed::Plain(value) => {
                    let Some(text) = scalar(&value) else {
                        let detail = format!("`{what}` has a value that is not a text");
                        return Err(Stop::error(ErrorType::Expression, detail, frame.pointer));
                    };
                    Sealed::Plain(Value::String(text))
                }
                sealed => sealed,
            };
            texts.insert(name, value);
        }
        Ok(texts)
    }

    /// What a request is made with.
    pub(super) async fn credentials(
        &self,
        authentication: Option<&Authentication>,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<Option<Credentials>, Stop> {
        let Some(Authentication { scheme, settings }) = authentication else { return Ok(None) };
        let settings = self.sealed(settings, frame, state).await?;
        Ok(Some(Credentials { scheme: (*scheme).to_owned(), settings }))
    }

    /// Where a request goes, and with what.
    pub(super) async fn resource(
        &self,
        endpoint: &Endpoint,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<Resource, Stop> {
        let url = match &endpoint.url {
            Url::Computed(expression) => match self.evaluate(expression, frame.data(), frame, state).await? {
                Value::String(url) => url,
                _ => return Err(Stop::error(ErrorType::Expression, "the endpoint is not a text", frame.pointer)),
            },
            Url::Parts(parts) => {
                expand(parts, frame.data()).map_err(|why| Stop::error(ErrorType::Expression, why, frame.pointer))?
            }
        };
        let authentication = self.credentials(endpoint.authentication.as_deref(), frame, state).await?;
        Ok(Resource { url, authentication })
    }
}

/// A text, number or boolean as a text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Simple expansion (RFC 6570, section 3.2.2): what is not unreserved is encoded; what is not there is empty.
fn expand(parts: &[Part], input: &Value) -> Result<String, String> {
    let mut url = String::new();
    for part in parts {
        match part {
            Part::Text(text) => url.push_str(text),
            Part::Variable(name) => match input.get(name) {
                None | Some(Value::Null) => (),
                Some(value) => {
                    let text =
                        scalar(value).ok_or_else(|| format!("`{{{name}}}` in the URI is a list or an object"))?;
                    for byte in text.bytes() {
                        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                            url.push(char::from(byte));
                        } else {
                            let digits =
                                [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
                            url.extend(['%'].into_iter().chain(digits.map(|digit| digit.to_ascii_uppercase())));
                        }
                    }
                }
            },
        }
    }
    Ok(url)
}

impl<'a> Frame<'a> {
    /// The task's input: what the expressions of its definition are evaluated on.
    pub(super) fn data(&self) -> &'a Value {
        const NOTHING: &Value = &Value::Null;
        self.input.unwrap_or(NOTHING)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Part, expand};

    #[test]
    fn variables_of_uris_are_encoded() {
        let parts = [Part::Text("https://a/".into()), Part::Variable("a.b".into()), Part::Variable("none".into())];
        assert_eq!(expand(&parts, &json!({"a.b": "x/ü ~"})).unwrap(), "https://a/x%2F%C3%BC%20~");
        assert_eq!(expand(&parts, &json!({"a.b": 5})).unwrap(), "https://a/5");
        assert_eq!(expand(&parts, &json!(1)).unwrap(), "https://a/");
        assert!(expand(&parts, &json!({"a.b": []})).is_err());
    }
}
