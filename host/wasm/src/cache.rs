//! Compiled code on disk, signed, so that nobody who can write to the folder can make the host run their code.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::{artefact::TrustedCode, config::CacheKey};

const MAC_BYTES: usize = 32;
const EXTENSION: &str = "code";

/// Larger files are not read: nothing that the host writes is.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// What an entry is. All of it is signed together with the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryId {
    /// What the bytes are for.
    pub(crate) purpose: &'static str,
    /// SHA-256 of the component that was compiled.
    pub(crate) component: [u8; 32],
    /// SHA-256 of wasmtime's version, the target and the engine's settings.
    pub(crate) configuration: [u8; 32],
}

impl EntryId {
    /// Unambiguous: all parts but the last have a fixed length.
    fn write_to(&self, mut write: impl FnMut(&[u8])) {
        write(b"nexus-wasm/1");
        write(&self.component);
        write(&self.configuration);
        write(&(self.purpose.len() as u64).to_be_bytes());
        write(self.purpose.as_bytes());
    }

    fn file_name(&self) -> String {
        let mut hash = Sha256::new();
        self.write_to(|part| hash.update(part));
        format!("{}.{EXTENSION}", hex::encode(hash.finalize()))
    }
}

/// A folder of signed entries, bounded in size.
#[derive(Debug)]
pub(crate) struct CodeCache {
    dir: PathBuf,
    key: CacheKey,
    max_bytes: u64,
    hits: AtomicU64,
    forged: AtomicU64,
}

impl CodeCache {
    /// Opens the folder, and makes it when it is missing.
    pub(crate) fn open(dir: PathBuf, key: CacheKey, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        #[cfg(unix)]
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(Self { dir, key, max_bytes, hits: AtomicU64::new(0), forged: AtomicU64::new(0) })
    }

    /// How many entries were found and verified.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// How many entries were found with a wrong signature.
    pub(crate) fn forged(&self) -> u64 {
        self.forged.load(Ordering::Relaxed)
    }

    /// The entry, if it is there and its signature is right. One with a wrong signature is removed.
    pub(crate) fn get(&self, id: &EntryId) -> Option<TrustedCode> {
        let path = self.dir.join(id.file_name());
        let file = match read(&path) {
            Ok(file) => file?,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code could not be read");
                return None;
            }
        };
        let Some(bytes) = self.verified(id, &file) else {
            self.forged.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(path = %path.display(), "compiled code has a wrong signature; it is removed and made again");
            self.remove(id);
            return None;
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        touch(&path);
        Some(TrustedCode::assert(bytes))
    }

    /// Signs and keeps `code`. A failure to write is logged: the code will be compiled again.
    pub(crate) fn put(&self, id: &EntryId, code: &TrustedCode) {
        if let Err(error) = self.write(id, code.bytes()) {
            tracing::warn!(dir = %self.dir.display(), %error, "compiled code could not be kept");
        }
        self.evict();
    }

    /// Removes an entry.
    pub(crate) fn remove(&self, id: &EntryId) {
        // It may be gone already, and one that cannot be removed is refused again next time.
        let _ = fs::remove_file(self.dir.join(id.file_name()));
    }

    fn verified(&self, id: &EntryId, file: &Bytes) -> Option<Bytes> {
        let (signature, code) = file.split_at_checked(MAC_BYTES)?;
        self.mac(id, code)?.verify_slice(signature).ok()?;
        Some(file.slice(MAC_BYTES..))
    }

    fn mac(&self, id: &EntryId, code: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.bytes()).ok()?;
        id.write_to(|part| mac.update(part));
        mac.update(code);
        Some(mac)
    }

    fn write(&self, id: &EntryId, code: &[u8]) -> io::Result<()> {
        let mac = self.mac(id, code).ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&mac.finalize().into_bytes())?;
        file.write_all(code)?;
        file.persist(self.dir.join(id.file_name())).map_err(|error| error.error)?;
        Ok(())
    }

    fn evict(&self) {
        let files = match list(&self.dir) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "the folder for compiled code could not be read");
                return;
            }
        };
        for path in too_many(files, self.max_bytes) {
            let _ = fs::remove_file(path);
        }
    }
}

/// `Ok(None)` when the file is missing.
fn read(path: &Path) -> io::Result<Option<Bytes>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(MAX_FILE_BYTES)).unwrap_or(0));
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes.into()))
}

/// So that what is used stays when something has to go.
fn touch(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

#[derive(Debug)]
struct CachedFile {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn list(dir: &Path) -> io::Result<Vec<CachedFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Another process may remove a file between the two calls.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            files.push(CachedFile { path: entry.path(), bytes: metadata.len(), used: metadata.modified()? });
        }
    }
    Ok(files)
}

/// Which files go, the least recently used first, so that the rest has at most `max_bytes`.
fn too_many(mut files: Vec<CachedFile>, max_bytes: u64) -> Vec<PathBuf> {
    files.sort_by_key(|file| std::cmp::Reverse(file.used));
    let mut kept = 0_u64;
    files
        .into_iter()
        .filter_map(|file| {
            kept = kept.saturating_add(file.bytes);
            (kept > max_bytes).then_some(file.path)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ID: EntryId = EntryId { purpose: "test", component: [1; 32], configuration: [2; 32] };

    fn cache(dir: &Path, max_bytes: u64) -> CodeCache {
        CodeCache::open(dir.to_owned(), CacheKey::new([7; 32]), max_bytes).unwrap()
    }

    fn code(text: &'static str) -> TrustedCode {
        TrustedCode::assert(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn what_was_put_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        cache(dir.path(), 1 << 20).put(&ID, &code("machine code"));
        let again = cache(dir.path(), 1 << 20);
        assert_eq!(again.get(&ID).unwrap().bytes(), "machine code");
        assert!(again.get(&EntryId { component: [3; 32], ..ID }).is_none());
        assert_eq!((again.hits(), again.forged()), (1, 0));
    }

    #[test]
    fn one_changed_bit_is_seen_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1 << 20);
        cache.put(&ID, &code("machine code"));
        let path = dir.path().join(ID.file_name());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(cache.get(&ID).is_none());
        assert_eq!(cache.forged(), 1);
        assert!(!path.exists());
    }

    #[test]
    fn an_entry_under_another_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1 << 20);
        cache.put(&ID, &code("machine code"));
        let other = EntryId { configuration: [9; 32], ..ID };
        fs::copy(dir.path().join(ID.file_name()), dir.path().join(other.file_name())).unwrap();
        assert!(cache.get(&other).is_none());
        let foreign = CodeCache::open(dir.path().to_owned(), CacheKey::new([8; 32]), 1 << 20).unwrap();
        assert!(foreign.get(&ID).is_none());
    }

    #[test]
    fn the_oldest_goes_first() {
        let file = |name: &str, bytes, age: u64| CachedFile {
            path: name.into(),
            bytes,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 - age),
        };
        let files = vec![file("old", 40, 3), file("new", 40, 1), file("middle", 40, 2)];
        assert_eq!(too_many(files, 80), [PathBuf::from("old")]);
    }
}
