//! The plugin `fetch`: requests over HTTP, and pages as plain text. What its tools do says `wit/fetch.wit`.
//!
//! Where requests may go is not decided here: the host asks its grants on every one.

mod page;
#[cfg(target_arch = "wasm32")]
mod send;

use self::bindings::{Error, Guest, Page, Request, Response};

/// The most of a body that is taken, in bytes, and how much where nobody says.
const MAX_BODY: u32 = 1 << 20;
const USUAL_BODY: u32 = 256 << 10;

struct Fetch;

nexus_guest::plugin!(Fetch, additional_derives: [PartialEq]);

impl Guest for Fetch {
    fn fetch(request: Request) -> Result<Response, Error> {
        send::send(&request)
    }

    fn text(url: String) -> Result<Page, Error> {
        page::read(url, send::send)
    }
}

fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(USUAL_BODY).min(MAX_BODY)
}

/// The value of a field, as text; of the first, if there are many.
fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut headers = response.headers.iter();
    headers.find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
}

/// Requests are sent by the host that runs the component: there is none here.
#[cfg(not(target_arch = "wasm32"))]
mod send {
    use crate::{Error, Request, Response};

    pub(crate) fn send(_: &Request) -> Result<Response, Error> {
        Err(Error::Unreachable("this is no component".to_owned()))
    }
}
