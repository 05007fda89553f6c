//! Reading a request's body, within bounds.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, header},
};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use super::{api::Api, error, problem::Problem};

/// A refused body is read on and thrown away up to this many times the limit, so that a client that sends before it
/// reads gets to see the answer.
const DISCARD_FACTOR: usize = 4;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// How large a body may be, and the setting that says so.
#[derive(Clone, Copy)]
struct Bound {
    bytes: usize,
    setting: &'static str,
}

/// The body of a request that says that it is plain JSON, as it came.
pub(crate) async fn read(api: &Api, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let bound = Bound { bytes: api.limits.body_bytes, setting: "limits.body_bytes" };
    read_within(api, headers, body, bound, check_json(headers)).await
}

/// The body of a request that brings a file of a definition, whatever its type.
pub(crate) async fn read_file(api: &Api, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    read_within(api, headers, body, definition(api), check_coding(headers)).await
}

/// The body of a request that brings a component.
pub(crate) async fn read_component(api: &Api, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    read_within(api, headers, body, definition(api), check_wasm(headers)).await
}

/// The body of a request of any media type, as it came.
pub(crate) async fn read_any(api: &Api, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let bound = Bound { bytes: api.limits.body_bytes, setting: "limits.body_bytes" };
    read_within(api, headers, body, bound, check_coding(headers)).await
}

/// The body of a request that brings definitions in JSON.
pub(crate) async fn read_definitions<T: DeserializeOwned>(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let bytes = read_within(api, headers, body, definition(api), check_json(headers)).await?;
    serde_json::from_slice(&bytes).map_err(|error| error::invalid_json(error.to_string()))
}

fn definition(api: &Api) -> Bound {
    Bound { bytes: api.limits.definition_bytes, setting: "limits.definition_bytes" }
}

async fn read_within(
    api: &Api,
    headers: &HeaderMap,
    mut body: Body,
    bound: Bound,
    checked: Result<(), Problem>,
) -> Result<Bytes, Problem> {
    let time = api.limits.body_timeout;
    let read = async {
        checked?;
        check_length(&body, bound)?;
        let all = tokio::time::timeout(time, collect(&mut body, bound)).await;
        all.unwrap_or_else(|_| Err(error::body_timeout(time)))
    };
    let read = read.await;
    // Who asks first (RFC 9110, 10.1.1) has its answer now, and nothing was sent yet.
    if read.is_err() && !body.is_end_stream() && !headers.contains_key(header::EXPECT) {
        discard(api, body, bound);
    }
    read
}

/// A body that comes in one piece, as most do, is not copied.
async fn collect(body: &mut Body, bound: Bound) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| error::body_broken())?.into_data() else { continue };
        if first.len() + all.len() + piece.len() > bound.bytes {
            return Err(error::body_too_large(bound.bytes, bound.setting));
        }
        if first.is_empty() && all.is_empty() {
            first = piece;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&piece);
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// The body as a value of this server's own calls.
pub(crate) async fn read_json<T: DeserializeOwned>(api: &Api, request: Request) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = read(api, &parts.headers, body).await?;
    serde_json::from_slice(&bytes).map_err(|error| error::invalid_json(error.to_string()))
}

fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(error::unsupported_media_type("compressed bodies are not read"));
    }
    Ok(())
}

fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    check_coding(headers)?;
    match headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) {
        Some(Ok(value)) if is_json(value) => Ok(()),
        Some(_) => Err(error::unsupported_media_type("the `Content-Type` is not JSON")),
        None => Err(error::unsupported_media_type("the `Content-Type` is missing")),
    }
}

/// Components come as `application/wasm`, or as bytes of which nothing is said.
fn check_wasm(headers: &HeaderMap) -> Result<(), Problem> {
    check_coding(headers)?;
    let stated = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = stated.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match essence.as_deref() {
        None | Some("application/wasm" | "application/octet-stream") => Ok(()),
        Some(_) => Err(error::unsupported_media_type("the `Content-Type` is not `application/wasm`")),
    }
}

/// `application/json` and every `application/…+json` (RFC 6839), with or without parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 17
            && essence.as_bytes()[..12].eq_ignore_ascii_case(b"application/")
            && essence.as_bytes()[essence.len() - 5..].eq_ignore_ascii_case(b"+json"))
}

fn check_length(body: &Body, bound: Bound) -> Result<(), Problem> {
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if told > bound.bytes { Err(error::body_too_large(bound.bytes, bound.setting)) } else { Ok(()) }
}

fn discard(api: &Api, body: Body, bound: Bound) {
    let bytes = bound.bytes.saturating_mul(DISCARD_FACTOR);
    if check_length(&body, Bound { bytes, ..bound }).is_err() {
        return;
    }
    api.tasks.spawn(async move {
        let mut body = std::pin::pin!(Limited::new(body, bytes));
        let read_on = async { while let Some(Ok(_)) = body.frame().await {} };
        // Whether all of it came is of no interest.
        let _ = tokio::time::timeout(DISCARD_TIME, read_on).await;
    });
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn json_by_any_name() {
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", "application/ld+json;a=b"]
        {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/plain", "application/jsonp", "application/xml", "text/json", "application/+json"] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
