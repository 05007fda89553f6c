//! From a URL to the text that people read there.

use html2text::config;
use url::Url;

use crate::{
    MAX_BODY,
    bindings::{Error, Header, Method, Page, Request, Response},
    field,
};

const MAX_REDIRECTS: u8 = 5;
/// Characters in a line.
const WIDTH: usize = 100;

/// Reads a page. `send` is asked once, and once for every redirect.
pub(crate) fn read(url: String, mut send: impl FnMut(&Request) -> Result<Response, Error>) -> Result<Page, Error> {
    let mut url = url;
    for _ in 0..=MAX_REDIRECTS {
        let response = send(&request(url.clone()))?;
        match response.status {
            200..=299 => return Ok(Page { text: text(&response)?, url }),
            301 | 302 | 303 | 307 | 308 => url = target(&url, field(&response, "location"), response.status)?,
            status => return Err(Error::Status(status)),
        }
    }
    Err(Error::Redirects(MAX_REDIRECTS))
}

fn request(url: String) -> Request {
    let accept = "text/html, application/xhtml+xml, text/*;q=0.8".to_owned();
    let headers = vec![Header { name: "accept".to_owned(), value: accept }];
    Request { method: Method::Get, url, headers, body: None, limit: Some(MAX_BODY) }
}

fn target(from: &str, to: Option<&str>, status: u16) -> Result<String, Error> {
    let base = Url::parse(from).map_err(|error| Error::Url(format!("{from}: {error}")))?;
    let to = to.ok_or(Error::Status(status))?;
    let to = base.join(to).map_err(|error| Error::Url(format!("{to}: {error}")))?;
    Ok(to.into())
}

/// What people read of a body.
fn text(response: &Response) -> Result<String, Error> {
    let media = field(response, "content-type").unwrap_or("text/plain");
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "text/html" | "application/xhtml+xml" => {
            let page = config::plain().link_footnotes(true).allow_width_overflow();
            let text = page.string_from_read(response.body.as_bytes(), WIDTH);
            text.map_err(|_| Error::NotText(media))
        }
        plain if plain.starts_with("text/") => Ok(response.body.clone()),
        _ => Err(Error::NotText(media)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        let headers =
            headers.iter().map(|(name, value)| Header { name: (*name).to_owned(), value: (*value).to_owned() });
        Response { status, headers: headers.collect(), body: body.to_owned() }
    }

    fn html(body: &str) -> Response {
        answer(200, &[("Content-Type", "text/HTML; charset=utf-8")], body)
    }

    fn found(at: &str, response: impl Fn(&str) -> Response) -> (Result<Page, Error>, Vec<String>) {
        let mut asked = Vec::new();
        let page = read(at.to_owned(), |request| {
            asked.push(request.url.clone());
            Ok(response(&request.url))
        });
        (page, asked)
    }

    #[test]
    fn a_page_is_what_people_read() {
        let body = "<html><head><title>T</title><style>p {}</style></head><body><h1>Oak &amp; pine</h1>
            <p>From <a href='/list'>the list</a>.</p><script>alert(1)</script><ul><li>one<li>two</ul>";
        let text = found("https://shop.example/", |_| html(body)).0.unwrap().text;
        for part in ["# Oak & pine", "From [the list][1].", "* one\n* two", "[1]: /list"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("alert") && !text.contains("p {}"), "{text}");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        let page =
            found("http://a.example/x", |_| answer(200, &[("content-type", "text/markdown")], "# <b>")).0.unwrap();
        assert_eq!((page.url.as_str(), page.text.as_str()), ("http://a.example/x", "# <b>"));
        let image = found("http://a.example/x", |_| answer(200, &[("content-type", "image/svg+xml")], "<svg/>")).0;
        assert_eq!(image.unwrap_err(), Error::NotText("image/svg+xml".to_owned()));
    }

    #[test]
    fn redirects_are_followed_from_where_they_are() {
        let (page, asked) = found("http://a.example/x/y?z", |url| match url {
            "http://a.example/x/y?z" => answer(301, &[("Location", "../w")], ""),
            "http://a.example/w" => answer(307, &[("location", "//b.example/v#f")], ""),
            _ => html("there"),
        });
        assert_eq!(asked, ["http://a.example/x/y?z", "http://a.example/w", "http://b.example/v#f"]);
        assert_eq!(page.unwrap(), Page { url: "http://b.example/v#f".to_owned(), text: "there\n".to_owned() });
    }

    #[test]
    fn redirects_end() {
        let (page, asked) = found("http://a.example/", |url| answer(302, &[("location", &format!("{url}x"))], ""));
        assert_eq!((page, asked.len()), (Err(Error::Redirects(5)), 6));
        assert_eq!(found("http://a.example/", |_| answer(302, &[], "")).0, Err(Error::Status(302)));
        let (page, _) = found("http://a.example/", |_| answer(302, &[("location", "http://[")], ""));
        assert!(matches!(page, Err(Error::Url(_))), "{page:?}");
    }

    #[test]
    fn a_server_that_has_no_such_page_says_so() {
        assert_eq!(found("http://a.example/", |_| answer(404, &[], "gone")).0, Err(Error::Status(404)));
        let refused = read("http://a.example/".to_owned(), |_| Err(Error::Denied("there".to_owned())));
        assert_eq!(refused, Err(Error::Denied("there".to_owned())));
    }
}
