//! Streams and their groups of readers.

use std::time::Duration;

use nexus_model::{ConsumerGroup, Delivery, Entry, Key, PendingEntry, StoreError, StreamStart};
use redis::{Cmd, FromRedisValue};

use super::{
    RedisStore,
    link::{Failure, Order},
    scripts::Invocation,
    stream_ids,
};
use crate::{
    bounds::{checked_key, checked_name, checked_value},
    clock::millis,
};

/// How often a waiting consumer looks for what other hosts append. What this host appends wakes it at once. A connection
/// that blocks would be quicker and could be shared by nobody: each waiting consumer would need one, of every node.
const LOOK: Duration = Duration::from_millis(100);
/// Entries that are handed over at one time at the most.
const MOST: usize = 10_000;
/// The one field of an entry.
const FIELD: &str = "v";

/// An entry as Redis tells it.
type Told = (String, (String, Vec<u8>));

impl RedisStore {
    pub(super) async fn stream_append(&self, stream: &Key, value: Vec<u8>, keep: usize) -> Result<String, StoreError> {
        let value = checked_value(stream, value)?;
        let mut command = on(stream, "XADD")?;
        command.arg("MAXLEN").arg("=").arg(bounded(keep)).arg("*").arg(FIELD).arg(value);
        let id: String = self.send(stream.owner(), command).await?;
        self.waiters.wake(&stream.to_string());
        Ok(stream_ids::shown(&id))
    }

    pub(super) async fn stream_read(
        &self,
        stream: &Key,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let Some(from) = stream_ids::after(after).filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let mut command = on(stream, "XRANGE")?;
        command.arg(from).arg("+").arg("COUNT").arg(bounded(limit));
        let entries: Vec<Told> = self.send(stream.owner(), command).await?;
        Ok(entries.into_iter().map(|(id, (_, value))| Entry { key: stream_ids::shown(&id), value }).collect())
    }

    pub(super) async fn stream_remove(&self, stream: &Key, ids: &[String]) -> Result<usize, StoreError> {
        let known = known(ids);
        if known.is_empty() {
            return Ok(0);
        }
        let mut command = on(stream, "XDEL")?;
        command.arg(known);
        Ok(self.send(stream.owner(), command).await?)
    }

    pub(super) async fn stream_trim(&self, stream: &Key, keep: usize) -> Result<usize, StoreError> {
        let mut command = on(stream, "XTRIM")?;
        command.arg("MAXLEN").arg("=").arg(bounded(keep));
        Ok(self.send(stream.owner(), command).await?)
    }

    pub(super) async fn group_create(&self, group: &ConsumerGroup, start: StreamStart) -> Result<bool, StoreError> {
        let start = match start {
            StreamStart::Beginning => "0",
            StreamStart::Now => "$",
        };
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(stream_key(&group.stream)?).arg(checked_name(&group.name)?).arg(start);
        command.arg("MKSTREAM");
        match self.send::<()>(group.stream.owner(), command).await {
            Ok(()) => Ok(true),
            Err(Failure::Server(error)) if error.code() == Some("BUSYGROUP") => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn group_delete(&self, group: &ConsumerGroup) -> Result<bool, StoreError> {
        let mut command = redis::cmd("XGROUP");
        command.arg("DESTROY").arg(stream_key(&group.stream)?).arg(checked_name(&group.name)?);
        match self.send(group.stream.owner(), command).await {
            Ok(destroyed) => Ok(destroyed),
            // The one error that it has: no such stream.
            Err(Failure::Server(error)) if error.code() == Some("ERR") => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn group_read(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        let consumer = checked_name(consumer)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let stream = group.stream.to_string();
        self.waiters.read(&stream, wait, LOOK, || self.deliver(group, &consumer, limit)).await
    }

    async fn deliver(&self, group: &ConsumerGroup, consumer: &str, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(checked_name(&group.name)?).arg(consumer).arg("COUNT").arg(limit.min(MOST));
        command.arg("STREAMS").arg(stream_key(&group.stream)?).arg(">");
        let told: Option<Vec<(String, Vec<Told>)>> = self.on_group(group, command).await?;
        let entries = told.into_iter().flatten().flat_map(|(_, entries)| entries);
        Ok(entries.map(|(id, (_, value))| Delivery { id: stream_ids::shown(&id), value, deliveries: 1 }).collect())
    }

    pub(super) async fn group_claim(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        idle: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let consumer = checked_name(consumer)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut call = Invocation::new([stream_key(&group.stream)?]);
        call.arg(checked_name(&group.name)?).arg(consumer);
        call.arg(millis(idle).to_string()).arg(limit.min(MOST).to_string());
        let told = self.link.run(group.stream.owner(), &Order::Script(&self.scripts.claim, call)).await;
        let claimed: Vec<(String, Vec<u8>, u64)> = told.map_err(|failure| refined(failure, group))?;
        Ok(claimed
            .into_iter()
            .map(|(id, value, deliveries)| Delivery { id: stream_ids::shown(&id), value, deliveries })
            .collect())
    }

    pub(super) async fn group_acknowledge(&self, group: &ConsumerGroup, ids: &[String]) -> Result<usize, StoreError> {
        let known = known(ids);
        if known.is_empty() {
            return Ok(0);
        }
        let mut command = on(&group.stream, "XACK")?;
        command.arg(checked_name(&group.name)?).arg(known);
        self.on_group(group, command).await
    }

    pub(super) async fn group_count(&self, group: &ConsumerGroup) -> Result<usize, StoreError> {
        let mut command = on(&group.stream, "XPENDING")?;
        command.arg(checked_name(&group.name)?);
        let (count, _, _, _): (usize, redis::Value, redis::Value, redis::Value) = self.on_group(group, command).await?;
        Ok(count)
    }

    pub(super) async fn group_pending(
        &self,
        group: &ConsumerGroup,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PendingEntry>, StoreError> {
        let Some(from) = stream_ids::after(after).filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let mut command = on(&group.stream, "XPENDING")?;
        command.arg(checked_name(&group.name)?).arg(from).arg("+").arg(bounded(limit));
        let told: Vec<(String, String, u64, u64)> = self.on_group(group, command).await?;
        let entries = told.into_iter().map(|(id, consumer, idle, deliveries)| PendingEntry {
            id: stream_ids::shown(&id),
            consumer,
            idle: Duration::from_millis(idle),
            deliveries,
        });
        Ok(entries.collect())
    }

    async fn on_group<T: FromRedisValue>(&self, group: &ConsumerGroup, command: Cmd) -> Result<T, StoreError> {
        self.send(group.stream.owner(), command).await.map_err(|failure| refined(failure, group))
    }
}

fn refined(failure: Failure, group: &ConsumerGroup) -> StoreError {
    match failure {
        Failure::Server(error) if error.to_string().contains("NOGROUP") => StoreError::UnknownGroup(group.name.clone()),
        other => other.into(),
    }
}

/// Streams are kept apart from values, so that both may have the same key.
fn stream_key(stream: &Key) -> Result<String, StoreError> {
    let key = checked_key(stream)?;
    Ok(key.replacen("nexus:", "nexus-stream:", 1))
}

fn on(stream: &Key, name: &str) -> Result<Cmd, StoreError> {
    let mut command = redis::cmd(name);
    command.arg(stream_key(stream)?);
    Ok(command)
}

fn known(ids: &[String]) -> Vec<String> {
    ids.iter().filter_map(|id| stream_ids::known(id)).collect()
}

/// Redis counts with a sign.
fn bounded(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
