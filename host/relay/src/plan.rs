//! What the arguments say.

use std::{
    net::{AddrParseError, SocketAddr},
    num::{NonZeroU16, ParseIntError},
};

/// What is to be listened on, and how much carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Connections at one time.
    pub connections: usize,
    /// Where to listen; at least one.
    pub addresses: Vec<SocketAddr>,
}

/// What is wrong with the arguments.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The first is no number from 1 to 65535.
    #[error("the first argument is how many connections are carried at one time")]
    Connections(#[source] ParseIntError),
    /// One is no address.
    #[error("`{0}` is no address with a port")]
    Address(String, #[source] AddrParseError),
    /// There is no address.
    #[error("there is no address to listen on")]
    Nothing,
}

impl Plan {
    /// Reads the arguments, without the program's name.
    pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, PlanError> {
        let connections: NonZeroU16 = arguments.next().unwrap_or_default().parse().map_err(PlanError::Connections)?;
        let address = |text: String| text.parse().map_err(|error| PlanError::Address(text, error));
        let addresses: Vec<SocketAddr> = arguments.map(address).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(PlanError::Nothing);
        }
        Ok(Self { connections: connections.get().into(), addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Plan, PlanError> {
        Plan::read(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn a_number_and_addresses_are_a_plan() {
        let plan = read(&["32", "127.0.0.1:3128", "127.0.0.2:5432"]).unwrap();
        assert_eq!(plan.connections, 32);
        assert_eq!(plan.addresses, ["127.0.0.1:3128".parse().unwrap(), "127.0.0.2:5432".parse().unwrap()]);
    }

    #[test]
    fn nothing_else_is() {
        assert!(matches!(read(&[]), Err(PlanError::Connections(_))));
        assert!(matches!(read(&["0", "127.0.0.1:1"]), Err(PlanError::Connections(_))));
        assert!(matches!(read(&["1"]), Err(PlanError::Nothing)));
        assert!(matches!(read(&["1", "localhost:1"]), Err(PlanError::Address(..))));
        assert!(matches!(read(&["1", "127.0.0.1"]), Err(PlanError::Address(..))));
    }
}
