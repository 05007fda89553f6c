//! Names and identifiers.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not a valid name: use 1 to 63 of a-z, 0-9 and `-`, beginning with a letter and not ending with `-`"
)]
pub struct InvalidName {
    /// The refused text, cut to 80 characters.
    pub name: String,
}

fn checked(name: &str) -> Result<Arc<str>, InvalidName> {
    let bytes = name.as_bytes();
    let well_formed = matches!(bytes.first(), Some(b'a'..=b'z'))
        && bytes.len() <= 63
        && bytes.last() != Some(&b'-')
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if well_formed { Ok(name.into()) } else { Err(InvalidName { name: name.chars().take(80).collect() }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                checked(name).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// The name of an application: one label of at most 63 characters, `[a-z][a-z0-9-]*`, as a DNS label (RFC 1123).
    AppName
}
name! {
    /// The name of an operation within its application; the same form as [`AppName`].
    OperationName
}
name! {
    /// The name of a plugin within its application, the namespace of its tools; the same form as [`AppName`].
    PluginName
}
name! {
    /// The name of a secret of the host or of an application; the same form as [`AppName`].
    SecretName
}

/// One operation of one application, written `app/operation`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationRef {
    /// The application.
    pub app: AppName,
    /// The operation in it.
    pub operation: OperationName,
}

impl fmt::Display for OperationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.operation)
    }
}

/// One call of an operation: a UUID of version 7, so that ids sort by the time of their making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(pub uuid::Uuid);

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for ExecutionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::parse_str(text).map(Self)
    }
}

macro_rules! hash {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub Arc<str>);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

hash! {
    /// The state of one application's folder: the hexadecimal id of its Git tree.
    Revision
}
hash! {
    /// Everything that what an operation answers depends on, hashed (SHA-256, hexadecimal): its prompt or component, its
    /// schemas and the model behind its alias. Code and traces belong to one version.
    VersionHash
}

#[cfg(test)]
mod tests {
    use super::AppName;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "order-desk", "x9", &"a".repeat(63)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "9a", "A", "a_b", "a/b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }
}
