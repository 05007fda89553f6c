//! What runs within Redis, so that several changes are one.

use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind};

use super::link::Connection;

const COMMON: &str = include_str!("lua/common.lua");

/// A script, sent once to each server and called by its hash from then on.
#[derive(Debug)]
pub(super) struct Script {
    code: String,
    hash: String,
}

impl Script {
    fn new(code: &str) -> Self {
        Self { hash: redis::Script::new(code).get_hash().to_owned(), code: code.to_owned() }
    }

    /// Runs it. Of several commands none is repeated but one that the server says it has not run.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        connection: &mut Connection,
        call: &Invocation,
    ) -> RedisResult<T> {
        match connection.query(&call.command("EVALSHA", &self.hash)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                connection.query(&call.command("EVAL", &self.code)).await
            }
            other => other,
        }
    }
}

/// Keys and arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Invocation {
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

impl Invocation {
    pub(super) fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self { keys: keys.into_iter().collect(), arguments: Vec::new() }
    }

    pub(super) fn key(&mut self, key: String) {
        self.keys.push(key);
    }

    pub(super) fn arg(&mut self, argument: impl Into<Vec<u8>>) -> &mut Self {
        self.arguments.push(argument.into());
        self
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys);
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        command
    }
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) write: Script,
    pub(super) compare_and_set: Script,
    pub(super) increment: Script,
    pub(super) expire: Script,
    pub(super) sweep: Script,
    pub(super) claim: Script,
    pub(super) probe: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let whole = |own: &str| Script::new(&format!("{COMMON}{own}"));
        Self {
            write: whole(include_str!("lua/write.lua")),
            compare_and_set: whole(include_str!("lua/compare_and_set.lua")),
            increment: whole(include_str!("lua/increment.lua")),
            expire: whole(include_str!("lua/expire.lua")),
            sweep: whole(include_str!("lua/sweep.lua")),
            claim: Script::new(include_str!("lua/claim.lua")),
            probe: Script::new(include_str!("lua/probe.lua")),
        }
    }
}
