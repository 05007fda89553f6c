//! What both versions of the draft do with a bucket.

use std::{collections::VecDeque, sync::Arc};

use nexus_model::{GuestServices, KeyPage};

use super::Refused;

/// The longest name of a bucket, in bytes.
const NAME_BYTES: usize = 64;

/// The bucket whose name is empty.
const DEFAULT: &str = "default";

/// How many keys one call of `batch` may name.
const BATCH_KEYS: usize = 1_000;

/// How many bytes one call of `batch` reads, and how many values that wait for a swap have in all.
const VALUE_BYTES: usize = 4 << 20;

/// Of so many pages the next ones can be asked for.
const CURSORS: usize = 16;

/// What a bucket is called; `None` if no bucket can be called so.
pub(super) fn name(identifier: String) -> Option<String> {
    match identifier.len() {
        0 => Some(DEFAULT.to_owned()),
        1..=NAME_BYTES => Some(identifier),
        _ => None,
    }
}

/// A bucket that the component has opened.
#[expect(unreachable_pub, reason = "the bindings export it again")]
pub struct Bucket {
    pub(super) name: String,
    cursors: Cursors,
}

impl Bucket {
    pub(super) fn new(name: String) -> Self {
        Self { name, cursors: Cursors::default() }
    }

    /// The cursor with a number that was handed out before.
    pub(super) fn cursor(&self, number: u64) -> Option<String> {
        self.cursors.get(number)
    }

    /// A number for a cursor, for the version of the draft whose cursors are numbers.
    pub(super) fn number(&mut self, cursor: String) -> u64 {
        self.cursors.number(cursor)
    }
}

/// The newest cursors, by number.
#[derive(Default)]
struct Cursors {
    first: u64,
    newest: VecDeque<String>,
}

impl Cursors {
    fn get(&self, number: u64) -> Option<String> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.newest.get(at).cloned()
    }

    fn number(&mut self, cursor: String) -> u64 {
        if self.newest.len() == CURSORS {
            self.newest.pop_front();
            self.first += 1;
        }
        self.newest.push_back(cursor);
        self.first + self.newest.len() as u64 - 1
    }
}

/// A bucket, and what the call may do with it.
pub(super) struct Reach {
    pub(super) services: Arc<dyn GuestServices>,
    pub(super) bucket: String,
    pub(super) writable: bool,
}

impl Reach {
    fn to_write(&self) -> Result<&dyn GuestServices, Refused> {
        if self.writable { Ok(&*self.services) } else { Err(Refused::Denied) }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Refused> {
        Ok(self.services.get(&self.bucket, key).await?)
    }

    pub(super) async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), Refused> {
        Ok(self.to_write()?.set(&self.bucket, key, value).await?)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Refused> {
        Ok(self.to_write()?.delete(&self.bucket, key).await?)
    }

    pub(super) async fn keys(&self, cursor: Option<&str>) -> Result<KeyPage, Refused> {
        Ok(self.services.keys(&self.bucket, cursor).await?)
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, Refused> {
        Ok(self.to_write()?.increment(&self.bucket, key, delta).await?)
    }

    /// Sets a value if it is still what was read; whether it was.
    pub(super) async fn compare_and_set(
        &self,
        key: &str,
        read: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, Refused> {
        Ok(self.to_write()?.compare_and_set(&self.bucket, key, read, value).await?)
    }

    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Vec<Option<(String, Vec<u8>)>>, Refused> {
        check_batch(keys.len())?;
        let (mut found, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in keys {
            let value = self.get(&key).await?;
            bytes += value.as_ref().map_or(0, Vec::len);
            if bytes > VALUE_BYTES {
                return Err(Refused::because("the values are more than 4 MiB: ask for fewer at once"));
            }
            found.push(value.map(|value| (key, value)));
        }
        Ok(found)
    }

    pub(super) async fn set_many(&self, values: Vec<(String, Vec<u8>)>) -> Result<(), Refused> {
        check_batch(values.len())?;
        for (key, value) in values {
            self.set(&key, value).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), Refused> {
        check_batch(keys.len())?;
        for key in keys {
            self.delete(&key).await?;
        }
        Ok(())
    }
}

fn check_batch(keys: usize) -> Result<(), Refused> {
    if keys > BATCH_KEYS {
        return Err(Refused::Other(format!("{keys} keys in one batch, at most {BATCH_KEYS} are allowed")));
    }
    Ok(())
}

/// The bytes of the values that wait for a swap.
#[derive(Default)]
pub(crate) struct Held(usize);

impl Held {
    /// Takes room for a value.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refused> {
        if bytes > VALUE_BYTES.saturating_sub(self.0) {
            return Err(Refused::because("the values that wait for a swap are more than 4 MiB"));
        }
        self.0 += bytes;
        Ok(())
    }

    /// Gives it back.
    pub(super) fn give(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_cursors_are_kept() {
        let mut bucket = Bucket::new("b".to_owned());
        let numbers: Vec<_> = (0..20).map(|n| bucket.number(n.to_string())).collect();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
        assert_eq!(bucket.cursor(3), None);
        assert_eq!(bucket.cursor(4).as_deref(), Some("4"));
        assert_eq!(bucket.cursor(19).as_deref(), Some("19"));
        assert_eq!(bucket.cursor(20), None);
    }

    #[test]
    fn values_that_wait_have_a_bound() {
        let mut held = Held::default();
        assert!(held.take(VALUE_BYTES).is_ok());
        assert!(held.take(1).is_err());
        held.give(1);
        assert!(held.take(1).is_ok());
    }

    #[test]
    fn names_are_short() {
        assert_eq!(name(String::new()).as_deref(), Some("default"));
        assert_eq!(name("b".repeat(64)), Some("b".repeat(64)));
        assert_eq!(name("b".repeat(65)), None);
    }
}
