//! The checks of a server without keys: only this machine, and no web page from elsewhere (DNS rebinding, CSRF).

use axum::http::{HeaderMap, Uri, header, uri::Authority};

use super::{error, problem::Problem};

/// Lets a request pass whose `Host`, and whose `Origin` if there is one, name this machine.
pub(crate) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| uri.authority().map(Authority::as_str));
    if !host.is_some_and(is_local) {
        return Err(error::foreign("Host"));
    }
    match headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or_default()) {
        None => Ok(()),
        Some(origin) => {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if host.is_some_and(is_local) { Ok(()) } else { Err(error::foreign("Origin")) }
        }
    }
}

/// `localhost`, `127.0.0.1` or `[::1]`, with or without a port.
fn is_local(authority: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        authority.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && match authority[name.len()..].strip_prefix(':') {
                Some(port) => !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()),
                None => authority.len() == name.len(),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_names_of_this_machine() {
        for good in ["localhost", "LOCALHOST:7070", "127.0.0.1:1", "[::1]", "[::1]:7070"] {
            assert!(is_local(good), "{good}");
        }
        for bad in [
            "",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.2",
            "evil:localhost",
            "localhost:",
            "localhost:1@evil",
            "null",
        ] {
            assert!(!is_local(bad), "{bad}");
        }
    }
}
