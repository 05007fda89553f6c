//! Where a Redis is, as one line.

use std::{fmt, str::FromStr};

use redis::{ConnectionInfo, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// The most nodes that an address may name.
const MAX_NODES: usize = 64;
/// The port where none is named.
const PORT: u16 = 6379;

/// Where a Redis is: `redis://host:port/db`, `rediss://…` over TLS, or several nodes of a cluster as
/// `redis+cluster://host:port,host:port` (`rediss+cluster://…`). A user may stand before the host; a password may not.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    text: String,
    nodes: Vec<String>,
    is_cluster: bool,
    is_tls: bool,
}

/// An address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It does not begin with one of the schemes.
    #[error(
        "this is no address of a Redis: write `redis://HOST:PORT`, `rediss://HOST:PORT` for TLS, or \
         `redis+cluster://HOST:PORT,HOST:PORT` for a cluster"
    )]
    Scheme,
    /// Redis Sentinel.
    #[error(
        "Redis Sentinel is not supported: write `redis://HOST:PORT` with a name that always leads to the present primary, or \
         use a cluster (`redis+cluster://…`), which fails over by itself"
    )]
    Sentinel,
    /// A password does not belong where settings are shown.
    #[error(
        "the address holds a password: take it out, and name where it is as `redis: {{ password: {{ env: REDIS_PASSWORD \
         }} }}` or `{{ file: /run/secrets/redis }}`"
    )]
    Password,
    /// A host, a port or a database that is none.
    #[error("`{0}` is not `HOST:PORT`, nor `HOST:PORT/DATABASE` with a number")]
    Node(String),
    /// Several hosts where one is meant.
    #[error("several hosts are a cluster: write `redis+cluster://` (or `rediss+cluster://`) before them")]
    Several,
    /// A cluster has one database.
    #[error("a cluster has no numbered databases: leave `/{0}` out")]
    Database(String),
    /// Too many nodes.
    #[error("at most {MAX_NODES} nodes can be named; a few are enough, the others are found through them")]
    TooMany,
}

impl RedisAddress {
    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The nodes with the password that the server asks for.
    pub(super) fn nodes(&self, password: Option<&SecretString>) -> Result<Vec<ConnectionInfo>, redis::RedisError> {
        let with_password = |node: &String| {
            let info = node.as_str().into_connection_info()?;
            let Some(password) = password else { return Ok(info) };
            let settings = info.redis_settings().clone().set_password(password.expose_secret());
            Ok(info.set_redis_settings(settings))
        };
        self.nodes.iter().map(with_password).collect()
    }
}

impl FromStr for RedisAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let (scheme, is_cluster) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis+cluster" => ("redis", true),
            "rediss+cluster" => ("rediss", true),
            sentinel if sentinel.ends_with("sentinel") => return Err(AddressError::Sentinel),
            _ => return Err(AddressError::Scheme),
        };
        let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(user, rest)| (user, rest));
        if user.contains(':') {
            return Err(AddressError::Password);
        }
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        if is_cluster && !database.is_empty() {
            return Err(AddressError::Database(database.to_owned()));
        }
        let hosts: Vec<_> = hosts.split(',').collect();
        if hosts.len() > 1 && !is_cluster {
            return Err(AddressError::Several);
        }
        if hosts.len() > MAX_NODES {
            return Err(AddressError::TooMany);
        }
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let node = |host: &&str| node(scheme, &user, host, database);
        let nodes = hosts.iter().map(node).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), nodes, is_cluster, is_tls: scheme == "rediss" })
    }
}

/// The address of one node, checked.
fn node(scheme: &str, user: &str, host: &str, database: &str) -> Result<String, AddressError> {
    let shown = if database.is_empty() { host.to_owned() } else { format!("{host}/{database}") };
    let error = || AddressError::Node(shown.clone());
    let is_number = database.is_empty() || database.parse::<u16>().is_ok();
    // As a web address, so that the host is checked as one.
    let checked = Url::parse(&format!("http://{host}")).map_err(|_| error())?;
    let plain = matches!(checked.path(), "/") && checked.query().is_none() && checked.fragment().is_none();
    let name = checked.host_str().filter(|name| !name.is_empty() && plain && is_number).ok_or_else(error)?;
    // The port of the web is what a web address leaves out.
    let port = if host.ends_with(":80") { 80 } else { checked.port().unwrap_or(PORT) };
    Ok(format!("{scheme}://{user}{name}:{port}/{database}"))
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{AddressError, RedisAddress};

    fn nodes(text: &str) -> Result<Vec<String>, AddressError> {
        text.parse::<RedisAddress>().map(|address| address.nodes)
    }

    #[test]
    fn addresses_are_read() {
        for (text, expected) in [
            ("redis://localhost", vec!["redis://localhost:6379/"]),
            ("redis://127.0.0.1:7000/3", vec!["redis://127.0.0.1:7000/3"]),
            ("rediss://me@cache.example:80", vec!["rediss://me@cache.example:80/"]),
            ("redis://[::1]:6380", vec!["redis://[::1]:6380/"]),
            ("redis+cluster://a:1,b", vec!["redis://a:1/", "redis://b:6379/"]),
        ] {
            assert_eq!(nodes(text).unwrap(), expected, "{text}");
            let address: RedisAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.is_cluster(), text.contains("cluster"));
            assert_eq!(address.is_tls(), text.starts_with("rediss"));
            assert_eq!(address.nodes(Some(&"secret".into())).unwrap().len(), expected.len());
        }
    }

    #[test]
    fn what_is_no_address_is_told_with_a_mend() {
        for (text, expected) in [
            ("localhost:6379", AddressError::Scheme),
            ("http://localhost", AddressError::Scheme),
            ("redis+sentinel://localhost:26379/primary", AddressError::Sentinel),
            ("rediss+sentinel://localhost", AddressError::Sentinel),
            ("redis://:secret@localhost", AddressError::Password),
            ("redis://", AddressError::Node(String::new())),
            ("redis://host:port", AddressError::Node("host:port".to_owned())),
            ("redis://host/zero", AddressError::Node("host/zero".to_owned())),
            ("redis://host?x", AddressError::Node("host?x".to_owned())),
            ("redis://a,b", AddressError::Several),
            ("redis+cluster://a,b/1", AddressError::Database("1".to_owned())),
            ("redis+cluster://a,,b", AddressError::Node(String::new())),
        ] {
            assert_eq!(nodes(text).unwrap_err(), expected, "{text}");
        }
        assert!(!AddressError::Password.to_string().contains("secret@"));
    }
}
