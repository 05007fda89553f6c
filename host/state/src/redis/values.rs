//! Values, and the index of their keys.

use std::time::Duration;

use nexus_model::{Batch, Entry, Key, QuotaKind, StoreError, Write};

use super::{
    RedisStore,
    link::Order,
    scripts::{Invocation, Script},
};
use crate::{
    bounds::{checked_key, checked_value, fenced_owner, owner},
    clock::millis,
};

/// Keys of the index, and values, that are fetched at one time.
const PAGE: usize = 64;
/// Expired keys that a list removes from the index at one time.
const SWEEP: usize = 1_000;
/// The longest time to live, in milliseconds: a hundred years. Redis counts in 64 bits with a sign.
const LONGEST_TTL: u64 = 100 * 365 * 86_400_000;
/// Sorts after every UTF-8 text that begins with what is before it.
const AFTER_ALL: u8 = 0xff;

/// What belongs to an application beside its values.
struct Index {
    owner: String,
}

impl Index {
    fn of(owner: &str) -> Self {
        Self { owner: owner.to_owned() }
    }

    /// What all keys of the application begin with.
    fn stem(&self) -> String {
        format!("nexus:{{{}}}:", self.owner)
    }

    /// Its keys in order.
    fn keys(&self) -> String {
        format!("nexus-index:{{{}}}", self.owner)
    }

    /// The first four keys and the first argument of every script.
    fn call(&self) -> Invocation {
        let more = ["due", "sizes", "total"].map(|name| format!("nexus-{name}:{{{}}}", self.owner));
        let mut call = Invocation::new([self.keys()].into_iter().chain(more));
        call.arg(self.stem());
        call
    }
}

impl RedisStore {
    pub(super) async fn write_batch(&self, batch: Batch) -> Result<(), StoreError> {
        let Some(owner) = owner(&batch)?.map(str::to_owned) else { return Ok(()) };
        let mut call = self.metered(&Index::of(&owner));
        // No fence: any key of the owner's stands in its place.
        call.key(Index::of(&owner).keys());
        call.arg("0").arg("");
        self.apply(&owner, call, batch).await.map(drop)
    }

    pub(super) async fn write_fenced(&self, fence: &Key, expected: &[u8], batch: Batch) -> Result<bool, StoreError> {
        let owner = fenced_owner(fence, &batch)?.to_owned();
        let mut call = self.metered(&Index::of(&owner));
        call.key(checked_key(fence)?);
        call.arg("1").arg(expected);
        self.apply(&owner, call, batch).await
    }

    /// Has a batch applied; whether the fence let it.
    async fn apply(&self, owner: &str, mut call: Invocation, batch: Batch) -> Result<bool, StoreError> {
        for write in batch {
            let counts = flag(write.key().counts());
            call.key(checked_key(write.key())?);
            match write {
                Write::Set { key, value, ttl } => {
                    call.arg("S").arg(ttl_text(ttl)).arg(counts).arg(checked_value(&key, value)?);
                }
                Write::Delete { .. } => {
                    call.arg("D").arg("").arg(counts).arg("");
                }
            }
        }
        let broken: String = self.script(owner, &self.scripts.write, call).await?;
        match broken.as_str() {
            "" => Ok(true),
            "fenced" => Ok(false),
            broken => Err(self.refused(owner, broken)),
        }
    }

    pub(super) async fn set_if(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let mut call = self.metered(&Index::of(key.owner()));
        call.key(checked_key(key)?);
        call.arg(flag(expected.is_some())).arg(expected.unwrap_or_default());
        call.arg(ttl_text(ttl)).arg(flag(key.counts())).arg(checked_value(key, value)?);
        let answer: String = self.script(key.owner(), &self.scripts.compare_and_set, call).await?;
        match answer.as_str() {
            "1" => Ok(true),
            "0" => Ok(false),
            broken => Err(self.refused(key.owner(), broken)),
        }
    }

    pub(super) async fn add(&self, key: &Key, by: i64, ttl: Option<Duration>) -> Result<i64, StoreError> {
        let mut call = self.metered(&Index::of(key.owner()));
        call.key(checked_key(key)?);
        call.arg(by.to_string()).arg(ttl_text(ttl)).arg(flag(key.counts()));
        let answer: String = self.script(key.owner(), &self.scripts.increment, call).await?;
        match answer.strip_prefix('=').map(str::parse) {
            Some(Ok(sum)) => Ok(sum),
            None if answer != "not a number" => Err(self.refused(key.owner(), &answer)),
            _ => Err(StoreError::NotANumber(key.to_string())),
        }
    }

    pub(super) async fn set_ttl(&self, key: &Key, ttl: Duration) -> Result<bool, StoreError> {
        let mut call = Index::of(key.owner()).call();
        call.key(checked_key(key)?);
        call.arg(ttl_text(Some(ttl)));
        self.script(key.owner(), &self.scripts.expire, call).await
    }

    pub(super) async fn list_up(
        &self,
        prefix: &Key,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (first, last) = ends(prefix);
        let after = after.map(|after| member(prefix, after)).filter(|after| *after >= first);
        let from = after.map_or_else(|| limit_at(b'[', &first), |after| limit_at(b'(', &after));
        self.list_range(prefix, from, limit_at(b'(', &last), limit, false).await
    }

    pub(super) async fn list_down(
        &self,
        prefix: &Key,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (first, last) = ends(prefix);
        let before = before.map(|before| member(prefix, before)).filter(|before| *before < last);
        let from = limit_at(b'(', &before.unwrap_or(last));
        self.list_range(prefix, from, limit_at(b'[', &first), limit, true).await
    }

    async fn list_range(
        &self,
        prefix: &Key,
        mut from: Vec<u8>,
        to: Vec<u8>,
        limit: usize,
        down: bool,
    ) -> Result<Vec<Entry>, StoreError> {
        let (owner, index) = (prefix.owner(), Index::of(prefix.owner()));
        let stem = prefix.kind().len() + 1;
        let mut found = Vec::new();
        while found.len() < limit {
            let wanted = PAGE.min(limit - found.len());
            let names = self.index_page(owner, &index, &from, &to, wanted, down).await?;
            let Some(last) = names.last() else { break };
            from = limit_at(b'(', last);
            let complete = names.len() < wanted;
            let values = self.values(owner, &index, &names).await?;
            let some_expired = values.iter().any(Option::is_none);
            for (name, value) in names.iter().zip(values) {
                let Some(value) = value else { continue };
                found.push(Entry { key: String::from_utf8_lossy(&name[stem..]).into_owned(), value });
            }
            if some_expired {
                let mut call = index.call();
                call.arg(SWEEP.to_string());
                self.script::<u64>(owner, &self.scripts.sweep, call).await?;
            }
            if complete {
                break;
            }
        }
        Ok(found)
    }

    async fn index_page(
        &self,
        owner: &str,
        index: &Index,
        from: &[u8],
        to: &[u8],
        limit: usize,
        down: bool,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(index.keys()).arg(from).arg(to).arg("BYLEX");
        if down {
            command.arg("REV");
        }
        command.arg("LIMIT").arg(0).arg(limit);
        Ok(self.send(owner, command).await?)
    }

    async fn values(&self, owner: &str, index: &Index, names: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut command = redis::cmd("MGET");
        let stem = index.stem();
        for name in names {
            command.arg([stem.as_bytes(), name].concat());
        }
        Ok(self.send(owner, command).await?)
    }

    async fn script<T: redis::FromRedisValue>(
        &self,
        owner: &str,
        script: &Script,
        call: Invocation,
    ) -> Result<T, StoreError> {
        Ok(self.link.run(owner, &Order::Script(script, call)).await?)
    }

    fn metered(&self, index: &Index) -> Invocation {
        let mut call = index.call();
        call.arg(self.quota.bytes.to_string()).arg(self.quota.keys.to_string());
        call
    }

    fn refused(&self, owner: &str, broken: &str) -> StoreError {
        let (kind, limit) = match broken {
            "keys" => (QuotaKind::Keys, self.quota.keys),
            _ => (QuotaKind::Bytes, self.quota.bytes),
        };
        StoreError::Quota { app: owner.to_owned(), kind, limit }
    }
}

/// The name of a key in the index.
fn member(prefix: &Key, key: &str) -> Vec<u8> {
    format!("{}:{key}", prefix.kind()).into_bytes()
}

/// The first name that a prefix takes, and the first after it that it does not.
fn ends(prefix: &Key) -> (Vec<u8>, Vec<u8>) {
    let first = member(prefix, prefix.key());
    let last = [&*first, &[AFTER_ALL]].concat();
    (first, last)
}

/// The end of a range: `[` takes the name in, `(` leaves it out.
fn limit_at(bracket: u8, name: &[u8]) -> Vec<u8> {
    [&[bracket], name].concat()
}

fn flag(on: bool) -> &'static str {
    if on { "1" } else { "" }
}

/// In milliseconds, at least one; empty for ever.
fn ttl_text(ttl: Option<Duration>) -> String {
    ttl.map_or_else(String::new, |ttl| millis(ttl).clamp(1, LONGEST_TTL).to_string())
}
