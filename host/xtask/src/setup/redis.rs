//! `redis-server`, `redis-cli` and `openssl`, for the tests and proofs of the store in Redis.

use std::process::Command;

use anyhow::{Context, Result};

use super::{
    debian::{self, Server},
    said,
};
use crate::out;

/// Makes sure that a Redis of version 7 or later is there, and `openssl`, which makes certificates for it. On Debian they are installed where they are missing; the service that
/// comes with the package is not left running.
pub(crate) fn ensure() -> Result<()> {
    if said(Command::new("openssl").arg("version")).is_none() {
        out::step("setup", "installing Debian's openssl: the store in Redis is tested over TLS");
        let mend = "install OpenSSL 3, so that `openssl` is found";
        debian::install(&["openssl".to_owned()]).context(mend)?;
    }
    let server = Server {
        name: "redis-server",
        package: "redis-server",
        oldest: 7,
        version,
        why: "the store in Redis is tested on a real one",
        mend: "install Redis 7 or later, so that `redis-server` and `redis-cli` are found",
    };
    server.ensure()
}

/// The main version, if both programs are there.
fn version() -> Option<u32> {
    said(Command::new("redis-cli").arg("--version"))?;
    main_version(&said(Command::new("redis-server").arg("--version"))?)
}

fn main_version(told: &str) -> Option<u32> {
    told.split_whitespace().find_map(|word| word.strip_prefix("v="))?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::main_version;

    #[test]
    fn the_version_is_read() {
        assert_eq!(main_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"), Some(7));
        assert_eq!(main_version("redis"), None);
    }
}
