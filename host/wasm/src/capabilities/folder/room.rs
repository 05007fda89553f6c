//! How much a call may still take.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::config::FolderLimits;

/// Files and folders that a call may hold open at one time.
const DESCRIPTORS: u32 = 32;

/// Folders that a call may be reading at one time; the names of each are in memory.
const LISTINGS: u32 = 4;

/// What is left of a folder's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) bytes: u64,
    pub(super) entries: u32,
}

impl Left {
    /// Looks at what is there: what each file takes on the disk, and how many there are.
    pub(super) fn of(folder: &Path, most: FolderLimits) -> io::Result<Self> {
        let mut left = Self { bytes: most.bytes, entries: most.entries };
        let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let Some(entries) = left.entries.checked_sub(1) else { return Ok(left) };
                left.entries = entries;
                let entry = entry?;
                // Of a link, not of what it points to; what another call has just removed takes nothing.
                let Ok(found) = entry.metadata() else { continue };
                left.bytes = left.bytes.saturating_sub(found.blocks().saturating_mul(512));
                if found.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        Ok(left)
    }
}

/// The bytes that may still be written, shared with the streams that write them.
#[derive(Debug, Clone, Default)]
pub(super) struct Bytes(Arc<AtomicU64>);

impl Bytes {
    /// Takes room for so many bytes, or says that there is none.
    pub(super) fn take(&self, bytes: u64) -> io::Result<()> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| full())
    }
}

/// What a full disk says.
pub(super) fn full() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}

/// What one call has taken, and may take. What it removes does not make room for more within the same call.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(super) bytes: Bytes,
    entries: u32,
    descriptors: u32,
    listings: u32,
}

impl Room {
    pub(super) fn begin(&mut self, left: Left) {
        self.bytes.0.store(left.bytes, Ordering::Relaxed);
        self.entries = left.entries;
    }

    /// Takes room for an entry of a folder.
    pub(super) fn take_entry(&mut self) -> bool {
        take(&mut self.entries)
    }

    pub(super) fn open_descriptor(&mut self) -> wasmtime::Result<()> {
        if self.descriptors >= DESCRIPTORS {
            return Err(wasmtime::component::ResourceTableError::Full.into());
        }
        self.descriptors += 1;
        Ok(())
    }

    pub(super) fn close_descriptor(&mut self) {
        self.descriptors = self.descriptors.saturating_sub(1);
    }

    pub(super) fn open_listing(&mut self) -> wasmtime::Result<()> {
        if self.listings >= LISTINGS {
            return Err(wasmtime::component::ResourceTableError::Full.into());
        }
        self.listings += 1;
        Ok(())
    }

    pub(super) fn close_listing(&mut self) {
        self.listings = self.listings.saturating_sub(1);
    }
}

fn take(left: &mut u32) -> bool {
    let Some(less) = left.checked_sub(1) else { return false };
    *left = less;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: FolderLimits = FolderLimits { bytes: 1 << 20, entries: 10 };

    #[test]
    fn what_is_there_takes_room() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Left::of(folder.path(), MOST).unwrap(), Left { bytes: 1 << 20, entries: 10 });
        fs::create_dir(folder.path().join("in")).unwrap();
        fs::write(folder.path().join("in/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("out")).unwrap();
        let left = Left::of(folder.path(), MOST).unwrap();
        assert_eq!(left.entries, 7);
        assert!(left.bytes <= (1 << 20) - 100_000 && left.bytes > (1 << 20) - 200_000, "{left:?}");
        fs::write(folder.path().join("large"), vec![1; 2 << 20]).unwrap();
        assert_eq!(Left::of(folder.path(), MOST).unwrap().bytes, 0);
        for n in 0..20 {
            fs::write(folder.path().join(n.to_string()), "").unwrap();
        }
        assert_eq!(Left::of(folder.path(), MOST).unwrap().entries, 0);
    }

    #[test]
    fn what_is_taken_is_gone() {
        let mut room = Room::default();
        assert!(!room.take_entry());
        room.begin(Left { bytes: 10, entries: 1 });
        assert!(room.take_entry());
        assert!(!room.take_entry());
        assert!(room.bytes.take(8).is_ok());
        assert!(room.bytes.take(3).is_err());
        assert!(room.bytes.take(2).is_ok());
        assert!(room.bytes.take(1).is_err());
    }
}
