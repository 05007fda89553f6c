//! Where a connection goes that is not HTTP.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

/// The longest name of a host, in bytes (RFC 1035).
const MAX_NAME: usize = 253;
/// The longest label of a name, in bytes.
const MAX_LABEL: usize = 63;

/// The name of a host and a port of TCP, in one spelling: `db.internal:5432`. The name is in lower case; it is no address, in
/// whatever way one can be written, and not this machine's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpDestination {
    name: String,
    port: u16,
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no destination: {why}; write it as `db.internal:5432`")]
pub struct InvalidTcpDestination {
    /// The text, cut to 80 characters.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl TcpDestination {
    /// The name of the host, which is still to be resolved.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port; not 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for TcpDestination {
    type Err = InvalidTcpDestination;

    fn from_str(text: &str) -> Result<Self, InvalidTcpDestination> {
        read(text).map_err(|why| InvalidTcpDestination { text: text.chars().take(80).collect(), why })
    }
}

fn read(text: &str) -> Result<TcpDestination, &'static str> {
    let (name, port) = text.rsplit_once(':').ok_or("it has no port")?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) || port.starts_with('0') {
        return Err("the port is no number from 1 to 65535");
    }
    let port = port.parse().map_err(|_| "the port is no number from 1 to 65535")?;
    if name.contains([':', '[', ']']) {
        return Err("an address has no name that could be found in the sandbox: give it one");
    }
    if name.is_empty() || name.len() > MAX_NAME {
        return Err("the name has 1 to 253 characters");
    }
    let name = name.to_ascii_lowercase();
    if !name.split('.').all(is_label) {
        return Err("a name is of letters, digits, `-` and `_`, between single dots (others in Punycode)");
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    // As URLs have it (WHATWG): what ends in a number is read as an address, in any base and with any number of parts.
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        return Err("an address has no name that could be found in the sandbox: give it one");
    }
    if last == "localhost" {
        return Err("the name is the sandbox's own");
    }
    Ok(TcpDestination { name, port })
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for TcpDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

impl Serialize for TcpDestination {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TcpDestination {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_destination_has_one_spelling() {
        for text in ["db.internal:5432", "DB.Internal:5432"] {
            let read: TcpDestination = text.parse().unwrap();
            assert_eq!(
                (read.name(), read.port(), read.to_string().as_str()),
                ("db.internal", 5432, "db.internal:5432")
            );
        }
        for text in ["db:1", "my_db-1.x:65535", "xn--bcher-kva.example:443", "0xdb.internal:1", "1.2.3.4.example:80"] {
            assert_eq!(text.parse::<TcpDestination>().unwrap().to_string(), text);
        }
        let written = serde_json::to_string(&"db:1".parse::<TcpDestination>().unwrap()).unwrap();
        assert_eq!(written, r#""db:1""#);
        assert!(serde_json::from_str::<TcpDestination>(r#""db""#).is_err());
    }

    #[test]
    fn what_is_no_name_and_port_is_refused() {
        for text in [
            "",
            ":",
            "db",
            "db:",
            ":5432",
            "db:0",
            "db:05",
            "db:+5",
            "db:65536",
            "db:5432 ",
            " db:1",
            "d b:1",
            "db.:1",
            ".db:1",
            "a..b:1",
            "-a:1",
            "a-:1",
            "bücher:1",
            "db\n:1",
            "tcp://db:1",
            "u@db:1",
            "db/x:1",
            "localhost:1",
            "x.LOCALHOST:1",
        ] {
            assert!(text.parse::<TcpDestination>().is_err(), "{text:?}");
        }
        for address in ["127.0.0.1:1", "[::1]:1", "::1:1", "2130706433:1", "0x7f000001:1", "127.1:1", "db.0x1:1", "0:1"]
        {
            assert!(address.parse::<TcpDestination>().is_err(), "{address:?}");
        }
        assert!(format!("{}:1", "a".repeat(64)).parse::<TcpDestination>().is_err());
        assert!(format!("{}a:1", "a.".repeat(127)).parse::<TcpDestination>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_again_and_fits_a_file_of_hosts(text in "\\PC{0,40}(:[0-9]{1,5})?") {
            if let Ok(read) = text.parse::<TcpDestination>() {
                prop_assert_eq!(&read.to_string().parse::<TcpDestination>().unwrap(), &read);
                prop_assert!(read.name().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
                prop_assert!(read.name().parse::<std::net::IpAddr>().is_err());
            }
        }
    }
}
