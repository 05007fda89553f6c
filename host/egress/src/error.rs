//! Why a request got no answer.

use std::io;

/// Why a request got no answer, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// All addresses of the host are closed, for this reason.
    #[error("the address is closed: it is {0}")]
    Closed(&'static str),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The name could not be resolved.
    #[error("the name could not be resolved")]
    Resolve(#[source] io::Error),
    /// No address answered.
    #[error("the connection could not be made")]
    Connect(#[source] io::Error),
    /// The connection took too long to make, or no place for it was free in time.
    #[error("the connection was not made in time")]
    ConnectTimeout,
    /// No authorities could be read that certificates are checked with.
    #[error("no trusted authorities could be read")]
    Authorities(#[source] rustls::Error),
    /// The certificate is not trusted, or not for this name.
    #[error("the certificate is not trusted, or not for this name")]
    Certificate(#[source] io::Error),
    /// The handshake of TLS failed.
    #[error("the connection could not be secured")]
    Tls(#[source] io::Error),
    /// The method opens a tunnel or tells what was sent.
    #[error("the method {0} is not sent")]
    Method(http::Method),
    /// The exchange failed.
    #[error("the exchange failed")]
    Exchange(#[source] hyper::Error),
    /// The head of the answer did not come in time.
    #[error("no answer came in time")]
    HeadTimeout,
    /// The head of the answer is too large.
    #[error("the head of the answer has more than {0} bytes")]
    HeadTooLarge(usize),
    /// The answer is to go on in another protocol.
    #[error("the answer changes the protocol")]
    Upgrade,
    /// The body of the answer is too large.
    #[error("the body of the answer has more than {0} bytes")]
    BodyTooLarge(u64),
    /// The next part of the body did not come in time, or all of it took too long.
    #[error("the body of the answer did not come in time")]
    BodyTimeout,
}
