//! Requests to the outside that the host makes for an application, to the origins of its `tools.http`.
//!
//! Where a name leads, which addresses are closed and that nothing is followed is decided by `nexus-egress`. A redirect is an
//! answer like others: whoever follows it asks again, and is checked again.

use std::{collections::BTreeMap, future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body::Body as _;
use http_body_util::Full;
use nexus_egress::{AnswerBody, Driver, Egress, EgressError};
use nexus_model::{App, HttpGrant, WebOrigin};
use secrecy::ExposeSecret as _;

use crate::events::SecretLookup;

/// The largest body of an answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// What belongs to the connection and is not the sender's to say.
const OF_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Sends requests of applications.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) egress: Egress,
    pub(crate) secrets: SecretLookup,
}

/// A request, as an application wants it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) method: String,
    /// Absolute, with `http` or `https`.
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) status: u16,
    /// Those with a name that occurs more than once are joined with `, `.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

/// Why a request was not sent, or has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutgoingError {
    #[error("{0}")]
    Invalid(String),
    #[error("`{0}` is not in `tools.http` of the application")]
    Denied(String),
    #[error("the application has no secret `{0}`")]
    NoSecret(String),
    #[error("there was no answer: {0}")]
    Egress(#[from] EgressError),
    #[error("the answer has more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    #[error("there was no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

impl Outgoing {
    /// Sends a request for an application, and reads all of the answer: at most 1 MiB, within `limit`.
    pub(crate) async fn send(&self, app: &App, sent: Outbound, limit: Duration) -> Result<Inbound, OutgoingError> {
        let (origin, path) = place(&sent.url)?;
        let grant = app.tools.http.iter().find(|grant| grant.origin == origin.to_string());
        let grant = grant.ok_or_else(|| OutgoingError::Denied(origin.to_string()))?;
        let request = self.request(app, grant, path, sent)?;
        let exchange = async {
            let (answer, driver) = self.egress.send(&origin, request, self.egress.patience()).await?;
            let (head, body) = answer.into_parts();
            Ok(Inbound { status: head.status.as_u16(), headers: told(&head.headers), body: whole(body, driver).await? })
        };
        tokio::time::timeout(limit, exchange).await.map_err(|_| OutgoingError::Late(limit))?
    }

    fn request(
        &self,
        app: &App,
        grant: &HttpGrant,
        path: Uri,
        sent: Outbound,
    ) -> Result<Request<Full<Bytes>>, OutgoingError> {
        let invalid = |what: &str| OutgoingError::Invalid(format!("{what} cannot be sent"));
        let method =
            Method::from_bytes(sent.method.to_ascii_uppercase().as_bytes()).map_err(|_| invalid("the method"))?;
        let length = sent.body.len();
        let mut request = Request::new(Full::new(Bytes::from(sent.body)));
        (*request.method_mut(), *request.uri_mut()) = (method, path);
        for (name, value) in sent.headers {
            let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("the name of a header"))?;
            if OF_CONNECTION.contains(&field) {
                return Err(OutgoingError::Invalid(format!("the header `{field}` is the host's to set")));
            }
            let value = HeaderValue::from_str(&value).map_err(|_| invalid("the value of a header"))?;
            request.headers_mut().insert(field, value);
        }
        if length > 0 {
            request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        if let Some(credential) = &grant.credential {
            let no_secret = || OutgoingError::NoSecret(credential.secret.to_string());
            let secret = (self.secrets)(&app.name, credential.secret.as_str()).ok_or_else(no_secret)?;
            let field = HeaderName::from_bytes(credential.header.as_bytes()).map_err(|_| invalid("the credential"))?;
            let prefix = credential.prefix.as_deref();
            let prefix = prefix.unwrap_or(if field == header::AUTHORIZATION { "Bearer " } else { "" });
            let mut value = HeaderValue::from_str(&format!("{prefix}{}", secret.expose_secret()))
                .map_err(|_| invalid("the credential"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(field, value);
        }
        Ok(request)
    }
}

/// The origin of an address, and what stands after it.
fn place(url: &str) -> Result<(WebOrigin, Uri), OutgoingError> {
    let invalid = |why: String| OutgoingError::Invalid(format!("the address {why}"));
    let uri: Uri = url.parse().map_err(|error| invalid(format!("is none: {error}")))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(invalid("is not absolute".to_owned()));
    };
    let origin: WebOrigin = format!("{scheme}://{authority}")
        .parse()
        .map_err(|error: nexus_model::InvalidWebOrigin| invalid(error.why.to_string()))?;
    Ok((origin, uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from)))
}

fn told(headers: &http::HeaderMap) -> BTreeMap<String, String> {
    let mut told = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        told.entry(name.as_str().to_owned())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    told
}

/// All of a body, while the connection is kept going.
async fn whole(mut body: AnswerBody, mut driver: Driver) -> Result<Bytes, OutgoingError> {
    let mut read = Vec::new();
    let mut moves = true;
    loop {
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                return Poll::Ready(frame);
            }
            if moves && Pin::new(&mut driver).poll(cx).is_ready() {
                // What went wrong, the body says.
                moves = false;
                return Pin::new(&mut body).poll_frame(cx);
            }
            Poll::Pending
        });
        let Some(frame) = frame.await else { return Ok(read.into()) };
        if let Ok(data) = frame?.into_data() {
            if read.len() + data.len() > MAX_ANSWER_BYTES {
                return Err(OutgoingError::TooLarge);
            }
            read.extend_from_slice(&data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn an_address_has_an_origin_and_what_stands_after_it() {
        let (origin, path) = place("https://API.example.com:443/v1/x?y=1#z").unwrap();
        assert_eq!((origin.to_string().as_str(), path.to_string().as_str()), ("https://api.example.com", "/v1/x?y=1"));
        for bad in ["", "/v1", "api.example.com", "ftp://a.example/", "https://user@a.example/", "http://"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
