//! Why a store could not be opened.

use std::{io, path::PathBuf};

/// A store was not opened. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file.
    #[error(
        "`{}` is in use by another Nexus host: stop that host, or start this one with a data directory of its own",
        .path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is there but is no store, or a damaged one.
    #[error(
        "`{}` is damaged or is not a runtime store: restore it from a backup, or move it away to start empty",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        #[source]
        source: Box<redb::Error>,
    },
    /// The repository is there but is no repository, or a damaged one.
    #[error(
        "`{}` is damaged or is not a Git repository: run `git fsck` there, restore it from a backup or a clone, or move \
         it away to start empty",
        .path.display()
    )]
    Repository {
        /// The repository's folder.
        path: PathBuf,
        /// What was found.
        #[source]
        source: git2::Error,
    },
    /// The file system refused.
    #[error("`{}` cannot be opened", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers there, or not as a Redis.
    #[error(
        "`{address}` cannot be used: {reason}; start Redis there, or change `store` (`store: embedded` needs no server)"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Its certificate is of no authority that is trusted, or not for this host.
    #[error(
        "the certificate of `{address}` is not accepted ({reason}): it must name that host and be signed by an authority that \
         the system trusts, or by one in the file that `redis.ca` names, as `redis: {{ ca: /etc/redis/ca.pem }}`"
    )]
    Untrusted {
        /// Where.
        address: String,
        /// What was wrong.
        reason: String,
    },
    /// A Redis that lacks what is used.
    #[error("`{address}` is a Redis of version {version}, and 7 or later is needed: upgrade it, or change `store`")]
    TooOld {
        /// Where.
        address: String,
        /// What it says it is.
        version: String,
    },
}
