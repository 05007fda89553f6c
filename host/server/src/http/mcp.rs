//! `/mcp` and `/mcp/{app}`: the host and its applications for MCP clients, over streamable HTTP.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, Uri, header},
    response::Response,
};
use http_body_util::BodyExt;
use nexus_core::{AppCatalogue, HostCatalogue};
use nexus_mcp::SessionError;
use nexus_model::ToolCatalogue;

use super::{
    api::{Api, Caller, Verb},
    error,
    params::Named,
    problem::Problem,
};

/// The method with which clients of the newest revision ask for notifications.
const LISTEN: &str = "subscriptions/listen";

/// Answers a message of a client, or opens its stream of notifications. A key that may only call sees the tools, one that may
/// only read the prompts and the resources.
pub(crate) async fn serve(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    let name = api.known(&caller, Verb::Invoke, &app).or_else(|refused| {
        // Whoever may read it learns whether it is there; whoever may do neither is told of the usual scope.
        api.known(&caller, Verb::Read, &app).map_err(|_| refused)
    })?;
    let catalogue = AppCatalogue::new(api.core.clone(), name, caller.principal().clone());
    answer(&api, caller, request, Arc::new(catalogue)).await
}

/// Shows the host itself, as far as the key may see it.
pub(crate) async fn serve_host(State(api): State<Api>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let catalogue = HostCatalogue::new(api.core.clone(), caller.principal().clone());
    answer(&api, caller, request, Arc::new(catalogue)).await
}

async fn answer(
    api: &Api,
    caller: Caller,
    request: Request,
    catalogue: Arc<dyn ToolCatalogue>,
) -> Result<Response, Problem> {
    check_origin(request.uri(), request.headers())?;
    let follows = follows(&request);
    let response = match api.mcp.answer(request, catalogue).await {
        Ok(response) => response,
        Err(SessionError::Unknown) => return Err(error::unknown_session()),
        Err(SessionError::Full) => return Err(error::overloaded()),
    };
    if follows {
        // From here on it is one of the few followers, and no longer one of the requests in flight that a stop waits for.
        let place = Arc::clone(&api.followers).try_acquire_owned().map_err(|_| error::overloaded())?;
        return Ok(held(response, place));
    }
    Ok(held(response, caller))
}

/// Whether the answer goes on for as long as the client likes. That the header is true is checked with the message.
fn follows(request: &Request) -> bool {
    request.method() == Method::GET || request.headers().get("mcp-method").is_some_and(|method| method == LISTEN)
}

/// The answer, which keeps `guard` to its end.
fn held<B>(response: Response<B>, guard: impl Send + Sync + 'static) -> Response
where
    B: axum::body::HttpBody<Data = axum::body::Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &guard;
            frame
        }))
    })
}

/// A browser says where the page comes from that sends a request: only pages of this very server may.
fn check_origin(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or_default());
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let host = text(header::HOST).or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
    let page = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    if page.is_some() && page == host { Ok(()) } else { Err(error::foreign_page()) }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Uri};

    use super::check_origin;

    #[test]
    fn only_the_servers_own_pages_may_ask() {
        let check = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert("host", "nexus.example:7070".parse().unwrap());
            origin.map(|origin| headers.insert("origin", origin.parse().unwrap()));
            check_origin(&Uri::from_static("/mcp/a"), &headers).is_ok()
        };
        assert!(check(None) && check(Some("https://nexus.example:7070")));
        for foreign in ["https://evil.example", "null", "", "https://nexus.example", "ftp://nexus.example:7070"] {
            assert!(!check(Some(foreign)), "{foreign}");
        }
    }
}
