//! One request, as the host sends it: `wasi:http`.

use std::io::{Read, Write};

use url::Url;
use wasip2::http::{
    outgoing_handler::handle,
    types::{ErrorCode, Fields, IncomingResponse, Method as Verb, OutgoingBody, OutgoingRequest, Scheme},
};

use crate::{
    bindings::{Error, Header, Method, Request, Response},
    field, limit,
};

/// Sends a request and waits for all of its response.
pub(crate) fn send(request: &Request) -> Result<Response, Error> {
    let url = Url::parse(&request.url).map_err(|error| Error::Url(format!("{}: {error}", request.url)))?;
    let limit = limit(request.limit);
    let outgoing = outgoing(request, &url)?;
    let body = outgoing.body().map_err(|()| Error::Unreachable("the request has no body".to_owned()))?;
    let coming = handle(outgoing, None).map_err(|code| fault(&code))?;
    write(body, request.body.as_deref().unwrap_or_default())?;
    coming.subscribe().block();
    let response = coming.get().and_then(Result::ok);
    let response = response.ok_or_else(|| Error::Unreachable("there is no response".to_owned()))?;
    receive(&response.map_err(|code| fault(&code))?, limit)
}

fn outgoing(request: &Request, url: &Url) -> Result<OutgoingRequest, Error> {
    let scheme = match url.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => return Err(Error::Url(format!("{url}: the scheme `{other}` is not spoken"))),
    };
    let fields = Fields::new();
    for Header { name, value } in &request.headers {
        fields.append(name, value.as_bytes()).map_err(|error| Error::Header(format!("{name}: {error}")))?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let unusable = |()| Error::Url(url.to_string());
    outgoing.set_method(&verb(request.method)).map_err(unusable)?;
    outgoing.set_scheme(Some(&scheme)).map_err(unusable)?;
    outgoing.set_authority(Some(&url[url::Position::BeforeHost..url::Position::AfterPort])).map_err(unusable)?;
    outgoing.set_path_with_query(Some(&url[url::Position::BeforePath..url::Position::AfterQuery])).map_err(unusable)?;
    Ok(outgoing)
}

fn verb(method: Method) -> Verb {
    match method {
        Method::Get => Verb::Get,
        Method::Head => Verb::Head,
        Method::Post => Verb::Post,
        Method::Put => Verb::Put,
        Method::Patch => Verb::Patch,
        Method::Delete => Verb::Delete,
    }
}

fn write(body: OutgoingBody, content: &str) -> Result<(), Error> {
    let broken = |error: std::io::Error| Error::Unreachable(error.to_string());
    if !content.is_empty() {
        let mut stream = body.write().map_err(|()| Error::Unreachable("the request takes no body".to_owned()))?;
        stream.write_all(content.as_bytes()).and_then(|()| Write::flush(&mut stream)).map_err(broken)?;
    }
    OutgoingBody::finish(body, None).map_err(|code| fault(&code))
}

fn receive(incoming: &IncomingResponse, limit: u32) -> Result<Response, Error> {
    let entries = incoming.headers().entries().into_iter();
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let headers = entries.map(|(name, value)| Header { name, value: text(value) }).collect();
    let mut response = Response { status: incoming.status(), headers, body: String::new() };
    let body = read(incoming, limit)?;
    response.body = String::from_utf8(body)
        .map_err(|_| Error::NotText(field(&response, "content-type").unwrap_or_default().to_owned()))?;
    Ok(response)
}

fn read(incoming: &IncomingResponse, limit: u32) -> Result<Vec<u8>, Error> {
    let gone = |()| Error::Unreachable("the response has no body".to_owned());
    let body = incoming.consume().map_err(gone)?;
    let stream = body.stream().map_err(gone)?;
    let mut bytes = Vec::new();
    let read = stream.take(u64::from(limit) + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::Unreachable(error.to_string()))?;
    if bytes.len() > limit as usize {
        return Err(Error::TooLarge(limit));
    }
    Ok(bytes)
}

fn fault(code: &ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::Denied(code.to_string()),
        _ => Error::Unreachable(code.to_string()),
    }
}
