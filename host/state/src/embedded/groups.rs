//! Groups of readers: what a write transaction does to them, and how they are read.

use std::{ops::Bound, time::Duration};

use nexus_model::{Delivery, PendingEntry, StoreError, StreamStart};
use redb::{Database, ReadableDatabase, ReadableTable};

use super::tables::{GROUPS, LAST_ID, PENDING, STREAMS, Tables, storage};

/// A group's place in the tables.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) stream: Vec<u8>,
    pub(super) group: String,
}

impl Place {
    fn key(&self) -> (&[u8], &str) {
        (&self.stream, &self.group)
    }

    fn pending<'a>(&'a self, id: &'a str) -> (&'a [u8], &'a str, &'a str) {
        (&self.stream, &self.group, id)
    }

    pub(super) fn unknown(&self) -> StoreError {
        StoreError::UnknownGroup(self.group.clone())
    }
}

impl Tables<'_> {
    pub(super) fn create_group(&mut self, place: &Place, start: StreamStart) -> Result<bool, StoreError> {
        if self.groups.get(place.key()).map_err(storage)?.is_some() {
            return Ok(false);
        }
        let last = match start {
            StreamStart::Beginning => None,
            StreamStart::Now => self.last_id(&place.stream)?,
        };
        self.groups.insert(place.key(), last.unwrap_or_default().as_str()).map_err(storage)?;
        Ok(true)
    }

    pub(super) fn delete_group(&mut self, place: &Place) -> Result<bool, StoreError> {
        self.pending.retain_in(place.pending("")..place.pending(LAST_ID), |_, _| false).map_err(storage)?;
        let deleted = self.groups.remove(place.key()).map_err(storage)?;
        Ok(deleted.is_some())
    }

    /// Hands over the entries after the group's last.
    pub(super) fn deliver(&mut self, place: &Place, consumer: &str, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let last = self.groups.get(place.key()).map_err(storage)?.map(|last| last.value().to_owned());
        let last = last.ok_or_else(|| place.unknown())?;
        let mut delivered = Vec::new();
        let range = (Bound::Excluded((&*place.stream, &*last)), Bound::Excluded((&*place.stream, LAST_ID)));
        for entry in self.streams.range::<(&[u8], &str)>(range).map_err(storage)?.take(limit) {
            let (key, value) = entry.map_err(storage)?;
            delivered.push(Delivery { id: key.value().1.to_owned(), value: value.value().to_vec(), deliveries: 1 });
        }
        for entry in &delivered {
            self.pending.insert(place.pending(&entry.id), (consumer, self.now, 1)).map_err(storage)?;
        }
        if let Some(newest) = delivered.last() {
            self.groups.insert(place.key(), newest.id.as_str()).map_err(storage)?;
        }
        Ok(delivered)
    }

    /// Hands over those of `ids` that are still pending for `idle`.
    pub(super) fn claim(
        &mut self,
        place: &Place,
        consumer: &str,
        idle: u64,
        ids: &[String],
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut claimed = Vec::new();
        for id in ids {
            let held =
                self.pending.get(place.pending(id)).map_err(storage)?.map(|held| (held.value().1, held.value().2));
            let Some((_, deliveries)) = held.filter(|(since, _)| since.saturating_add(idle) <= self.now) else {
                continue;
            };
            let value = self.streams.get((&*place.stream, id.as_str())).map_err(storage)?;
            let Some(value) = value.map(|value| value.value().to_vec()) else {
                self.pending.remove(place.pending(id)).map_err(storage)?;
                continue;
            };
            let deliveries = deliveries.saturating_add(1);
            self.pending.insert(place.pending(id), (consumer, self.now, deliveries)).map_err(storage)?;
            claimed.push(Delivery { id: id.clone(), value, deliveries });
        }
        Ok(claimed)
    }

    pub(super) fn acknowledge(&mut self, place: &Place, ids: &[String]) -> Result<usize, StoreError> {
        let mut done = 0;
        for id in ids {
            done += usize::from(self.pending.remove(place.pending(id)).map_err(storage)?.is_some());
        }
        Ok(done)
    }
}

/// Whether there is something that the group was not given yet; `None` where there is no such group.
pub(super) fn any_new(database: &Database, place: &Place) -> Result<Option<bool>, redb::Error> {
    let transaction = database.begin_read()?;
    let groups = transaction.open_table(GROUPS)?;
    let Some(last) = groups.get(place.key())? else { return Ok(None) };
    let range = (Bound::Excluded((&*place.stream, last.value())), Bound::Excluded((&*place.stream, LAST_ID)));
    let streams = transaction.open_table(STREAMS)?;
    let next = streams.range::<(&[u8], &str)>(range)?.next().transpose()?;
    Ok(Some(next.is_some()))
}

/// Pending entries after an id that `wanted` takes, oldest first; `None` where there is no such group.
pub(super) fn pending(
    database: &Database,
    place: &Place,
    after: Option<&str>,
    limit: usize,
    now: u64,
    wanted: impl Fn(&PendingEntry) -> bool,
) -> Result<Option<Vec<PendingEntry>>, redb::Error> {
    let transaction = database.begin_read()?;
    if transaction.open_table(GROUPS)?.get(place.key())?.is_none() {
        return Ok(None);
    }
    let after = after.unwrap_or("");
    if after >= LAST_ID {
        return Ok(Some(Vec::new()));
    }
    let table = transaction.open_table(PENDING)?;
    let range = (Bound::Excluded(place.pending(after)), Bound::Excluded(place.pending(LAST_ID)));
    let mut found = Vec::new();
    for stored in table.range::<(&[u8], &str, &str)>(range)? {
        if found.len() >= limit {
            break;
        }
        let (key, held) = stored?;
        let (consumer, since, deliveries) = held.value();
        let idle = Duration::from_millis(now.saturating_sub(since));
        let entry = PendingEntry { id: key.value().2.to_owned(), consumer: consumer.to_owned(), idle, deliveries };
        if wanted(&entry) {
            found.push(entry);
        }
    }
    Ok(Some(found))
}

pub(super) fn count_pending(database: &Database, place: &Place) -> Result<Option<usize>, redb::Error> {
    let transaction = database.begin_read()?;
    if transaction.open_table(GROUPS)?.get(place.key())?.is_none() {
        return Ok(None);
    }
    let table = transaction.open_table(PENDING)?;
    let range = table.range::<(&[u8], &str, &str)>(place.pending("")..place.pending(LAST_ID))?;
    Ok(Some(range.count()))
}
