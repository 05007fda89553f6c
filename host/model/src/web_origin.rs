//! Origins: where a request of an application may go.

use std::{fmt, net::IpAddr, str::FromStr};

use url::{Host, Url};

/// The longest text that is read as an origin, in bytes.
const MAX_BYTES: usize = 512;

/// Scheme, host and port of a URL of HTTP (RFC 6454), in one spelling: a name is in lower case and in Punycode, and an
/// address is an address, however it was written (`0x7f.1`, `2130706433`, `[::7f00:1]`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebOrigin {
    secure: bool,
    host: WebHost,
    port: u16,
}

/// The host of an origin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WebHost {
    /// A name, which is still to be resolved.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no origin: {why}; write it as `https://api.example.com` or `http://host:8080`")]
pub struct InvalidWebOrigin {
    /// The text, cut to 80 characters.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl WebOrigin {
    /// The origin of a request: its scheme, and its authority as it stands in the request.
    pub fn of(scheme: &str, authority: &str) -> Result<Self, InvalidWebOrigin> {
        format!("{scheme}://{authority}").parse()
    }

    /// Whether the scheme is `https`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host.
    pub fn host(&self) -> &WebHost {
        &self.host
    }

    /// The port, also where it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in a request: the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        let standard = if self.secure { 443 } else { 80 };
        if self.port == standard { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl FromStr for WebOrigin {
    type Err = InvalidWebOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidWebOrigin> {
        read(text).map_err(|why| InvalidWebOrigin { text: text.chars().take(80).collect(), why })
    }
}

fn read(text: &str) -> Result<WebOrigin, &'static str> {
    if text.len() > MAX_BYTES {
        return Err("it is too long");
    }
    // A URL's reader would take out or put right what a request must not have.
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("it has white space, control characters or `\\`");
    }
    let secure = match text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("it begins with neither `https://` nor `http://`"),
    };
    let url = Url::parse(text).map_err(|_| "the host or the port is not well-formed")?;
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err("it has a user name");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("there is something behind host and port");
    }
    let host = match url.host() {
        Some(Host::Domain(name)) => WebHost::Name(name.to_owned()),
        Some(Host::Ipv4(address)) => WebHost::Address(address.into()),
        Some(Host::Ipv6(address)) => WebHost::Address(address.into()),
        None => return Err("it has no host"),
    };
    match url.port_or_known_default() {
        Some(0) | None => Err("the port is 0"),
        Some(port) => Ok(WebOrigin { secure, host, port }),
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Display for WebHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<WebOrigin>().unwrap().to_string()
    }

    #[test]
    fn one_origin_has_one_spelling() {
        for text in ["https://api.example.com", "HTTPS://API.Example.com:443/", "https://api.ex%61mple.com"] {
            assert_eq!(shown(text), "https://api.example.com", "{text}");
        }
        assert_eq!(shown("http://h:8080"), "http://h:8080");
        assert_eq!(shown("https://h:80"), "https://h:80");
        assert_eq!(shown("https://bücher.example"), "https://xn--bcher-kva.example");
        assert_eq!(WebOrigin::of("http", "h:80").unwrap().authority(), "h");
    }

    #[test]
    fn an_address_is_an_address_however_it_is_written() {
        for text in ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "0177.0.0.01"] {
            assert_eq!(shown(&format!("http://{text}")), "http://127.0.0.1", "{text}");
        }
        for text in ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]"] {
            assert_eq!(shown(&format!("http://{text}")), "http://[::ffff:127.0.0.1]", "{text}");
        }
        assert!(matches!(WebOrigin::of("http", "1.2.3.4").unwrap().host(), WebHost::Address(_)));
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for text in [
            "",
            "api.example.com",
            "ftp://h",
            "https://",
            "https://h/path",
            "https://h?query",
            "https://h#fragment",
            "https://user@h",
            "https://user:word@h",
            "https://@h",
            "https://h:0",
            "https://h:65536",
            "https:\\\\h",
            "https:h",
            "https://h\t.example",
            "https://h.example ",
            "https://a b",
            "https://1.2.3.4.5",
            "https://[fe80::1%25eth0]",
        ] {
            assert!(text.parse::<WebOrigin>().is_err(), "{text}");
        }
        assert!(format!("https://{}.example", "a".repeat(MAX_BYTES)).parse::<WebOrigin>().is_err());
        for authority in ["h?", "h#", "u@h", "h\\x", "h@169.254.169.254"] {
            assert!(WebOrigin::of("http", authority).is_err(), "{authority}");
        }
    }
}
