//! How large things may be.

use std::time::Duration;

use nexus_model::{Key, StoreError, Write};

/// The most files of an application.
pub(crate) const MAX_FILES: usize = 2_000;
/// The most folders of an application, links that lead to one again counted each time.
const MAX_FOLDERS: usize = 2_000;
/// The most bytes of an application's files together.
pub(crate) const MAX_APP_BYTES: u64 = 128 << 20;
/// The most bytes of one file: as many as a component may have.
pub(crate) const MAX_FILE_BYTES: u64 = 32 << 20;
/// The deepest nesting of folders.
pub(crate) const MAX_DEPTH: usize = 32;
/// The longest key of the runtime store, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 1 << 10;
/// The largest value of the runtime store, in bytes.
const MAX_VALUE_BYTES: usize = 8 << 20;
/// The longest name of a group or a consumer of a stream, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// The longest that a consumer waits for an entry.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);

/// The key as text, if it is within its bound.
pub(crate) fn checked_key(key: &Key) -> Result<String, StoreError> {
    checked(key.to_string(), MAX_KEY_BYTES)
}

/// A group's or a consumer's name, if it is within its bound.
pub(crate) fn checked_name(name: &str) -> Result<String, StoreError> {
    checked(name.to_owned(), MAX_NAME_BYTES)
}

fn checked(text: String, limit: usize) -> Result<String, StoreError> {
    if text.len() > limit {
        return Err(StoreError::TooLarge { key: text.chars().take(80).collect(), size: text.len(), limit });
    }
    Ok(text)
}

/// The value, if it is within its bound.
pub(crate) fn checked_value(key: &Key, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(StoreError::TooLarge { key: key.to_string(), size: value.len(), limit: MAX_VALUE_BYTES });
    }
    Ok(value)
}

/// Whose a batch is; nobody's where it is empty.
pub(crate) fn owner(batch: &[Write]) -> Result<Option<&str>, StoreError> {
    let Some(owner) = batch.first().map(|write| write.key().owner()) else { return Ok(None) };
    match batch.iter().map(|write| write.key().owner()).find(|other| *other != owner) {
        Some(other) => Err(StoreError::Spread(owner.to_owned(), other.to_owned())),
        None => Ok(Some(owner)),
    }
}

/// The owner of a batch that is fenced by a key of the same owner.
pub(crate) fn fenced_owner<'a>(fence: &'a Key, batch: &[Write]) -> Result<&'a str, StoreError> {
    match owner(batch)? {
        Some(other) if other != fence.owner() => Err(StoreError::Spread(fence.owner().to_owned(), other.to_owned())),
        _ => Ok(fence.owner()),
    }
}

/// Counts the files and bytes of an application while they are read.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    files: usize,
    folders: usize,
    bytes: u64,
}

impl Tally {
    /// Counts one more folder, `depth` folders below the application's. `Err` says which bound it breaks.
    pub(crate) fn enter(&mut self, depth: usize) -> Result<(), String> {
        self.folders += 1;
        if depth > MAX_DEPTH {
            return Err(format!("folders are nested more than {MAX_DEPTH} deep"));
        }
        if self.folders > MAX_FOLDERS {
            return Err(format!("the application has more than {MAX_FOLDERS} folders"));
        }
        Ok(())
    }

    /// Counts one more file. `Err` says which bound it breaks.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > MAX_FILE_BYTES {
            return Err(format!("the file has {bytes} bytes, at most {MAX_FILE_BYTES} are allowed"));
        }
        self.files += 1;
        self.bytes += bytes;
        if self.files > MAX_FILES {
            return Err(format!("the application has more than {MAX_FILES} files"));
        }
        if self.bytes > MAX_APP_BYTES {
            return Err(format!("the application's files have more than {MAX_APP_BYTES} bytes together"));
        }
        Ok(())
    }
}
