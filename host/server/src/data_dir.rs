//! The data directory: who has it, and the master key and the replica's name in it.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nexus_core::MasterKey;
use nexus_signals::Redactor;
use rand::RngCore;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused.
    #[error("`{}` cannot be used", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another server has it.
    #[error("the data directory `{}` is in use by another server", .0.display())]
    InUse(PathBuf),
    /// Others can read what they must not.
    #[error("the master key `{}` can be read by others: its mode must be 0600", .0.display())]
    Exposed(PathBuf),
    /// The master key is none.
    #[error("{0} is not a master key: 64 hexadecimal digits, or a file of them or of 32 bytes")]
    NotAKey(String),
}

/// A data directory that this process alone has, until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing the file would not do while a child is between fork and exec: it has the file too. The end of the
        // process does it otherwise.
        let _ = self.lock.unlock();
    }
}

impl DataDir {
    /// Makes the directory if need be, for its owner only, and takes it. Blocks for a moment.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refused(path))?;
        let file = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&file);
        let lock = lock.map_err(refused(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => Err(DataDirError::Io { path: file, source }),
        }
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The master key: the one that there is, or one that is made now, at the first start.
    pub(crate) fn master_key(&self, configured: Option<&str>, redactor: &Redactor) -> Result<MasterKey, DataDirError> {
        if let Some(key) = known_master_key(&self.path, configured, redactor)? {
            return Ok(key);
        }
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        write_secret(&self.join(MASTER_KEY_FILE), &key)?;
        Ok(opened(key, redactor))
    }

    /// This server's name among those that share its store, made at the first start.
    pub(crate) fn replica(&self) -> Result<String, DataDirError> {
        let path = self.join("replica");
        match std::fs::read_to_string(&path) {
            Ok(name) if name.len() == REPLICA_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                return Ok(name);
            }
            // One that is none is made anew.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(DataDirError::Io { path, source }),
        }
        let mut name = [0; REPLICA_DIGITS / 2];
        rand::rng().fill_bytes(&mut name);
        let name = hex::encode(name);
        write_secret(&path, name.as_bytes())?;
        Ok(name)
    }

    /// Leaves the first key where only the owner finds it, and says where.
    pub(crate) fn keep_admin_key(&self, key: &str) -> Result<PathBuf, DataDirError> {
        let path = self.join(ADMIN_KEY_FILE);
        write_secret(&path, format!("{key}\n").as_bytes())?;
        Ok(path)
    }
}

/// Digits of a replica's name.
const REPLICA_DIGITS: usize = 16;

/// The file of the first key, within the data directory.
pub(crate) const ADMIN_KEY_FILE: &str = "admin-key";
/// The file of the master key, within the data directory.
pub(crate) const MASTER_KEY_FILE: &str = "master-key";

/// The master key: `configured` (64 hexadecimal digits, or the path of a file), or else the data directory's own; `None`
/// before the first start. The redactor learns its digits.
pub(crate) fn known_master_key(
    data_dir: &Path,
    configured: Option<&str>,
    redactor: &Redactor,
) -> Result<Option<MasterKey>, DataDirError> {
    let Some(configured) = configured else {
        let path = data_dir.join(MASTER_KEY_FILE);
        return if path.exists() { Ok(Some(opened(read(&path)?, redactor))) } else { Ok(None) };
    };
    if let Some(key) = decode(configured.as_bytes()) {
        redactor.learn(configured);
        return Ok(Some(opened(key, redactor)));
    }
    let path = Path::new(configured);
    if path.is_file() {
        return Ok(Some(opened(read(path)?, redactor)));
    }
    // What may be a mistyped key is not repeated.
    redactor.learn(configured);
    Err(DataDirError::NotAKey("NEXUS_MASTER_KEY".to_owned()))
}

fn opened(key: [u8; 32], redactor: &Redactor) -> MasterKey {
    redactor.learn(&hex::encode(key));
    MasterKey::from_bytes(key)
}

fn read(path: &Path) -> Result<[u8; 32], DataDirError> {
    let mut file = File::open(path).map_err(refused(path))?;
    if file.metadata().map_err(refused(path))?.mode() & 0o077 != 0 {
        return Err(DataDirError::Exposed(path.to_owned()));
    }
    let mut bytes = Vec::with_capacity(128);
    Read::by_ref(&mut file).take(128).read_to_end(&mut bytes).map_err(refused(path))?;
    let key = <[u8; 32]>::try_from(bytes.as_slice()).ok().or_else(|| decode(bytes.trim_ascii()));
    key.ok_or_else(|| DataDirError::NotAKey(format!("`{}`", path.display())))
}

fn decode(digits: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    hex::decode_to_slice(digits, &mut key).ok().map(|()| key)
}

/// Writes a file that only its owner can read, and that survives a crash as a whole or not at all.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let draft = path.with_extension("draft");
    let write = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(refused(path))
}

fn refused(path: &Path) -> impl Fn(io::Error) -> DataDirError {
    move |source| DataDirError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{DataDir, DataDirError, Redactor};

    #[test]
    fn only_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::InUse(_))));
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn the_master_key_stays_and_is_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        let key = data.master_key(None, &Redactor::default()).unwrap().derive("x");
        assert_eq!(data.master_key(None, &Redactor::default()).unwrap().derive("x"), key);
        let path = data.join("master-key");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(data.master_key(path.to_str(), &Redactor::default()).unwrap().derive("x"), key);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(data.master_key(None, &Redactor::default()), Err(DataDirError::Exposed(_))));
    }

    #[test]
    fn a_replica_keeps_its_name() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, other) = (DataDir::open(one.path()).unwrap(), DataDir::open(other.path()).unwrap());
        let name = one.replica().unwrap();
        assert_eq!(one.replica().unwrap(), name);
        assert_ne!(other.replica().unwrap(), name);
        std::fs::write(one.join("replica"), "../x").unwrap();
        assert_ne!(one.replica().unwrap(), name);
    }

    #[test]
    fn a_configured_key_is_digits_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let (digits, redactor) = ("07".repeat(32), Redactor::default());
        assert_eq!(
            data.master_key(Some(&digits), &redactor).unwrap().derive("x"),
            nexus_core::MasterKey::from_bytes([7; 32]).derive("x")
        );
        assert_eq!(redactor.redact(&digits), "***");
        let error = data.master_key(Some("0707secret"), &redactor).unwrap_err().to_string();
        assert!(!error.contains("0707"), "{error}");
    }
}
