//! `nexus key`, `nexus secret` and `nexus audit`: who may do what, and who did.

use clap::Subcommand;

use super::Connection;

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key. It is shown once.
    #[command(
        after_help = "Examples:\n  nexus key create --name 'web shop' --scope apps:order-desk:invoke --expires 90d\n  nexus key create --name ci --scope 'apps:*:read' --scope 'apps:*:write'"
    )]
    Create {
        /// For people.
        #[arg(long)]
        name: String,
        /// What it may do: `admin`, or `apps:<application or *>:<invoke, read or write>`; may be repeated.
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<String>,
        /// How long it is good for, as `12h` or `90d`; for ever if left out.
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        /// Requests that it may make in a minute, at each replica; any number if left out.
        #[arg(long, value_name = "REQUESTS")]
        per_minute: Option<std::num::NonZeroU32>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List keys, revoked ones included, and when each was used last.
    #[command(
        after_help = "Examples:\n  nexus key list\n  nexus key list --json | jq '.keys[] | select(.last_used_at == null)'"
    )]
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Give a key a new secret. It is shown once; the old one goes on for the overlap.
    #[command(
        after_help = "Examples:\n  nexus key rotate 9f86d081884c7d65 --overlap 24h\n  nexus key rotate 9f86d081884c7d65   # the old secret ends at once"
    )]
    Rotate {
        /// The key's id, as `nexus key list` shows it.
        id: String,
        /// How long the old secret goes on, as `24h`, at most `30d`; not at all if left out.
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Revoke a key: it opens nothing any more.
    #[command(after_help = "Examples:\n  nexus key revoke 9f86d081884c7d65")]
    Revoke {
        /// The key's id, as `nexus key list` shows it.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Keep a secret. The value is read from standard input, or asked for on a terminal without showing it.
    #[command(
        after_help = "Examples:\n  nexus secret set openai                        # asks for the value\n  nexus secret set crm-token --app order-desk < token.txt\n  pass show openai | nexus secret set openai"
    )]
    Set {
        /// Its name: 1 to 63 of a-z, 0-9 and `-`.
        name: String,
        /// The application whose secret it is; the host's if left out.
        #[arg(long)]
        app: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List names, and where each value is.
    #[command(after_help = "Examples:\n  nexus secret list\n  nexus secret list --app order-desk --json")]
    List {
        /// The application whose secrets are listed; the host's if left out.
        #[arg(long)]
        app: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Forget a secret of the store. Those of variables and files are yours to take away.
    #[command(after_help = "Examples:\n  nexus secret delete crm-token --app order-desk")]
    Delete {
        /// Its name.
        name: String,
        /// The application whose secret it is; the host's if left out.
        #[arg(long)]
        app: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List changes and requests that were turned away, newest first.
    #[command(
        after_help = "Examples:\n  nexus audit list --action key.\n  nexus audit list --by 9f86d081884c7d65 --limit 100 --json"
    )]
    List {
        /// Only actions that begin with this, as `key.` or `denied`.
        #[arg(long)]
        action: Option<String>,
        /// Only what the key with this id did.
        #[arg(long, value_name = "ID")]
        by: Option<String>,
        /// Only what was done to this.
        #[arg(long)]
        target: Option<String>,
        /// Only records before this one.
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
        /// At most this many, 1 to 200.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
    /// Check that no record was changed, taken out or moved. Says which one, and exits with 1.
    #[command(after_help = "Examples:\n  nexus audit verify\n  nexus audit verify --from 100000")]
    Verify {
        /// The first record to check.
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        from: u64,
        #[command(flatten)]
        connection: Connection,
    },
}
