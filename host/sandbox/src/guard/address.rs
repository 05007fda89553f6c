//! Where an engine, or a guard, listens.

use std::{fmt, io, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

/// `unix:///path` or `tcp://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAddress {
    /// A socket in the file system.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// A text that is no address of an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of an engine: write it as `unix:///path` or `tcp://host:port`")]
pub struct InvalidAddress(String);

/// A connection.
pub(super) type Stream = Box<dyn Duplex>;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl EngineAddress {
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Tcp(host) => Ok(Box::new(prepare(TcpStream::connect(host).await?))),
        }
    }

    pub(super) async fn listen(&self) -> io::Result<Listening> {
        match self {
            Self::Unix(path) => {
                // One that a guard left behind that was killed, which would be in the way for ever.
                let found = UnixStream::connect(path).await.map_err(|error| error.kind());
                if matches!(found, Err(io::ErrorKind::ConnectionRefused)) {
                    std::fs::remove_file(path)?;
                }
                Ok(Listening::Unix(UnixListener::bind(path)?, path.clone()))
            }
            Self::Tcp(host) => Ok(Listening::Tcp(TcpListener::bind(host).await?)),
        }
    }

    /// Where to ask, on this machine, a guard that listens here.
    pub(super) fn on_this_machine(&self) -> Self {
        match self {
            Self::Tcp(host) => match host.parse::<SocketAddr>() {
                Ok(address) if address.ip().is_unspecified() => Self::Tcp(format!("localhost:{}", address.port())),
                _ => self.clone(),
            },
            Self::Unix(_) => self.clone(),
        }
    }
}

impl FromStr for EngineAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.chars().take(200).collect());
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(invalid()) };
        }
        let host = text.strip_prefix("tcp://").ok_or_else(invalid)?.trim_end_matches('/');
        let (name, port) = host.rsplit_once(':').ok_or_else(invalid)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        let right = !name.is_empty() && name.chars().all(plain) && port.parse::<u16>().is_ok();
        if right { Ok(Self::Tcp(host.to_owned())) } else { Err(invalid()) }
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// A socket that is listened at. Dropped, it is gone from the file system too.
#[derive(Debug)]
pub(super) enum Listening {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listening {
    pub(super) fn address(&self) -> io::Result<EngineAddress> {
        Ok(match self {
            Self::Unix(_, path) => EngineAddress::Unix(path.clone()),
            Self::Tcp(listener) => EngineAddress::Tcp(listener.local_addr()?.to_string()),
        })
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(prepare(listener.accept().await?.0)),
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Lines are short and waited for. A peer whose machine is gone says nothing, and is found out within two minutes: sandboxes
/// end with the connection to their input.
fn prepare(stream: TcpStream) -> TcpStream {
    let kept = || {
        sockopt::set_tcp_nodelay(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, Duration::from_mins(1))?;
        sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(15))?;
        sockopt::set_tcp_keepcnt(&stream, 4)?;
        sockopt::set_socket_keepalive(&stream, true)
    };
    if let Err(error) = kept() {
        tracing::debug!(%error, "a connection has no keep-alive");
    }
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_port() {
        for good in ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2375", "tcp://engine:2375", "tcp://[::1]:1"] {
            assert_eq!(good.parse::<EngineAddress>().unwrap().to_string(), good);
        }
        for bad in
            ["", "unix://", "unix://a", "tcp://", "tcp://a", "tcp://:1", "tcp://a:b", "http://a:1", "tcp://a/b:1"]
        {
            assert!(bad.parse::<EngineAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_guard_on_all_addresses_is_asked_on_this_machine() {
        let asked = |text: &str| text.parse::<EngineAddress>().unwrap().on_this_machine().to_string();
        assert_eq!(asked("tcp://0.0.0.0:2375"), "tcp://localhost:2375");
        assert_eq!(asked("tcp://[::]:2375"), "tcp://localhost:2375");
        assert_eq!(asked("tcp://10.0.0.1:2375"), "tcp://10.0.0.1:2375");
        assert_eq!(asked("unix:///a"), "unix:///a");
    }
}
