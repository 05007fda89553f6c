//! Bounds of what goes out.

use std::time::Duration;

use ipnet::IpNet;
use rustls::pki_types::CertificateDer;

/// What [`Egress`](crate::Egress) needs to know.
#[derive(Debug, Clone)]
pub struct EgressConfig {
    /// Networks of the operator's own that may be reached, though they are not public.
    pub private_networks: Vec<IpNet>,
    /// Authorities that are trusted besides the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Connections at one time, of all applications together; more wait as long as they may take to connect.
    pub connections: usize,
    /// Bytes that the head of an answer may have.
    pub head_bytes: usize,
    /// Bytes that the body of an answer may have.
    pub body_bytes: u64,
    /// How long an answer may take as a whole.
    pub answer: Duration,
    /// The longest that a caller may be patient.
    pub patience: Patience,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            private_networks: Vec::new(),
            authorities: Vec::new(),
            connections: 256,
            head_bytes: 32 << 10,
            body_bytes: 32 << 20,
            answer: Duration::from_mins(2),
            patience: Patience {
                connect: Duration::from_secs(10),
                head: Duration::from_mins(1),
                between: Duration::from_secs(30),
            },
        }
    }
}

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the connection is made, resolving the name and the handshake of TLS included.
    pub connect: Duration,
    /// From there until the head of the answer is there.
    pub head: Duration,
    /// Between two parts of the body.
    pub between: Duration,
}

impl Patience {
    /// Whichever of the two is shorter, step by step.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        Self {
            connect: self.connect.min(other.connect),
            head: self.head.min(other.head),
            between: self.between.min(other.between),
        }
    }
}
