//! The repository on the disk, and the right to write to it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use git2::{Repository, RepositoryInitOptions};
use nexus_model::DefinitionError;

use super::{MAIN, optional};
use crate::OpenError;

/// How long a writer waits for another process.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
/// A reference's lock that is older, after its writer died, belongs to nobody: Git holds one for milliseconds.
const STALE: Duration = Duration::from_millis(500);
/// An unfinished object that is older has no writer any more.
const ABANDONED: Duration = Duration::from_hours(1);

/// Opens a repository and checks that its branch can be read; makes it if nothing is there.
pub(super) fn open_or_create(path: &Path) -> Result<(), OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    let git_error = |source| OpenError::Repository { path: path.to_owned(), source };
    if is_vacant(path).map_err(io_error)? {
        create(path)?;
    }
    let repository = Repository::open_bare(path).map_err(git_error)?;
    // libgit2 then syncs objects, references and the folders that name them.
    repository.config().and_then(|mut config| config.set_bool("core.fsyncObjectFiles", true)).map_err(git_error)?;
    let tip = optional(repository.refname_to_id(MAIN)).map_err(git_error)?;
    if let Some(tip) = tip {
        repository.find_commit(tip).and_then(|commit| commit.tree()).map_err(git_error)?;
    }
    remove_drafts(&path.join("objects")).map_err(io_error)
}

/// Removes objects that a writer had not finished when it died.
fn remove_drafts(objects: &Path) -> io::Result<()> {
    for entry in fs::read_dir(objects)? {
        let entry = entry?;
        let is_draft = entry.file_name().as_encoded_bytes().starts_with(b"tmp_object_");
        let Ok(metadata) = entry.metadata() else { continue };
        if is_draft && metadata.modified()?.elapsed().unwrap_or_default() >= ABANDONED {
            // Another host may do the same at this time.
            fs::remove_file(entry.path()).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
    }
    Ok(())
}

fn is_vacant(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes the repository beside its place and moves it there, so that a half-made one is never seen.
fn create(path: &Path) -> Result<(), OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    let draft = draft_path(path);
    remove_folder(&draft).map_err(io_error)?;
    let options = &mut RepositoryInitOptions::new();
    Repository::init_opts(&draft, options.bare(true).initial_head("main").external_template(false))
        .map_err(|source| OpenError::Repository { path: path.to_owned(), source })?;
    match fs::rename(&draft, path) {
        Ok(()) => {}
        // Another process was first.
        Err(_) if !is_vacant(path).map_err(io_error)? => remove_folder(&draft).map_err(io_error)?,
        Err(error) => return Err(io_error(error)),
    }
    sync_folder(path.parent().unwrap_or(Path::new(""))).map_err(io_error)
}

fn draft_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder's entries durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

/// One writer at a time, over all threads and hosts that use the repository. Git programs need not know of it: they are
/// kept apart by the lock of each reference.
#[derive(Debug)]
pub(super) struct WriteLock {
    repository: PathBuf,
    threads: Mutex<()>,
}

/// The right to write, until it is dropped.
pub(super) struct WriteGuard<'a> {
    repository: &'a Path,
    /// Locked. Its text is the reference that is being moved; a text found there was left by a host that died.
    file: File,
    _thread: MutexGuard<'a, ()>,
}

impl WriteLock {
    pub(super) fn new(repository: &Path) -> Self {
        Self { repository: repository.to_owned(), threads: Mutex::new(()) }
    }

    /// Waits for the right to write, at most ten seconds for another process.
    pub(super) fn acquire(&self) -> Result<WriteGuard<'_>, DefinitionError> {
        let thread = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.lock_file()?;
        let mut guard = WriteGuard { repository: &self.repository, file, _thread: thread };
        guard.clear_after_crash().map_err(failed)?;
        Ok(guard)
    }

    fn lock_file(&self) -> Result<File, DefinitionError> {
        let path = self.repository.join("nexus-write.lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(failed(io::Error::other("another host has held the repository for ten seconds")));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

impl WriteGuard<'_> {
    /// Runs `work`, which moves a reference. If the process dies in it, the next writer removes the lock that Git leaves.
    pub(super) fn moving<T>(&mut self, reference: &str, work: impl FnOnce() -> T) -> Result<T, DefinitionError> {
        self.note(reference).map_err(failed)?;
        let outcome = work();
        self.file.set_len(0).map_err(failed)?;
        Ok(outcome)
    }

    fn note(&mut self, reference: &str) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(reference.as_bytes())?;
        self.file.sync_data()
    }

    fn clear_after_crash(&mut self) -> io::Result<()> {
        let mut reference = String::new();
        self.file.rewind()?;
        Read::by_ref(&mut self.file).take(1_024).read_to_string(&mut reference)?;
        if reference.is_empty() {
            return Ok(());
        }
        let lock = self.repository.join(format!("{reference}.lock"));
        while let Ok(metadata) = fs::metadata(&lock) {
            if metadata.modified()?.elapsed().unwrap_or_default() >= STALE {
                tracing::warn!(%reference, "removed the lock that a host left when it died");
                fs::remove_file(&lock)?;
            }
            thread::sleep(PAUSE);
        }
        self.file.set_len(0)
    }
}

fn failed(error: impl std::fmt::Display) -> DefinitionError {
    DefinitionError { step: "lock the definitions' repository", reason: error.to_string() }
}
