//! When the files of a plugin change.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::{
    sync::mpsc::{Receiver, channel},
    time::{Instant, timeout_at},
};

use crate::cli::failure::Failure;

/// How long it must be quiet before a change counts as done, and how long that is waited for.
const QUIET: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);
/// The most files that are looked at.
const MAX_FILES: usize = 10_000;
/// Folders with what is made or brought, beside those whose names begin with a dot.
const MADE: [&str; 6] = ["target", "node_modules", "dist", "build", "venv", "__pycache__"];
/// Files that the build writes.
const WRITTEN: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// The files, and what of them changes when they are written.
pub(super) type Files = BTreeMap<PathBuf, (SystemTime, u64)>;

/// Watches a folder, but for what is made in it.
pub(super) struct Watch {
    dir: PathBuf,
    /// A file or folder below it that the build makes.
    made: Option<PathBuf>,
    watcher: RecommendedWatcher,
    events: Receiver<()>,
}

impl Watch {
    /// `component` is where the build leaves the component, if that is known: it is no change, and nor is what is made beside it
    /// in a folder of its own.
    pub(super) fn new(dir: &Path, component: Option<&Path>) -> Result<Self, Failure> {
        let (sender, events) = channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // That something has changed is all that is asked: one note that waits is as good as many.
            if event.map_or(true, |event| counts(event.kind)) {
                let _ = sender.try_send(());
            }
        });
        let watcher = watcher.map_err(|error| unwatched(dir, &error))?;
        let made = component.and_then(|file| file.strip_prefix(dir).ok()?.components().next());
        let made = made.map(|first| dir.join(first));
        Ok(Self { dir: dir.to_owned(), made, watcher, events })
    }

    /// The files as they are. Folders that have come are watched from now on.
    pub(super) fn files(&mut self) -> Result<Files, Failure> {
        let mut found = Files::new();
        let mut folders = vec![self.dir.clone()];
        while let Some(folder) = folders.pop() {
            // Watched before it is read, so that nothing is missed in between; to watch it twice costs nothing.
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Err(_) if !folder.exists() && folder != self.dir => continue,
                watched => watched.map_err(|error| unwatched(&folder, &error))?,
            }
            self.read(&folder, &mut found, &mut folders)
                .map_err(|source| Failure::Unreadable { path: folder.clone(), source })?;
            if found.len() + folders.len() > MAX_FILES {
                let message = format!("`{}` has more than {MAX_FILES} files", self.dir.display());
                return Err(Failure::usage(message, "name the folder of one plugin"));
            }
        }
        Ok(found)
    }

    /// Waits for a change, and then until it is quiet.
    pub(super) async fn changed(&mut self) {
        // The watcher holds the other end as long as this.
        let _ = self.events.recv().await;
        let longest = Instant::now() + LONGEST;
        let quiet = || longest.min(Instant::now() + QUIET);
        while Instant::now() < longest && timeout_at(quiet(), self.events.recv()).await.is_ok() {}
    }

    /// The files in one folder, and the folders in it. What is gone in between is not there.
    fn read(&self, folder: &Path, files: &mut Files, folders: &mut Vec<PathBuf>) -> io::Result<()> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let entries = match fs::read_dir(folder) {
            Err(error) if gone(&error) => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let made = self.made.as_ref() == Some(&entry.path());
            if made || name.starts_with('.') || name.ends_with('~') || WRITTEN.contains(&name.as_ref()) {
                continue;
            }
            let about = match entry.metadata() {
                Err(error) if gone(&error) => continue,
                about => about?,
            };
            if about.is_file() {
                files.insert(entry.path(), (about.modified()?, about.len()));
            } else if about.is_dir() && !MADE.contains(&name.as_ref()) {
                folders.push(entry.path());
            }
        }
        Ok(())
    }
}

/// Whether a file may be another than before. That it is read is none of that.
fn counts(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => true,
        EventKind::Modify(what) => !matches!(what, ModifyKind::Metadata(_)),
        EventKind::Access(_) => false,
    }
}

fn unwatched(path: &Path, error: &notify::Error) -> Failure {
    Failure::usage(format!("`{}` cannot be watched: {error}", path.display()), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough for whatever is meant to come, on a busy machine.
    const PATIENCE: Duration = Duration::from_mins(1);

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn changed(watch: &mut Watch) {
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap();
    }

    #[tokio::test]
    async fn changes_are_seen_also_in_folders_that_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        write(&dir.join("src/lib.rs"), "one");
        let mut watch = Watch::new(dir, None).unwrap();
        let before = watch.files().unwrap();
        assert_eq!(before.keys().collect::<Vec<_>>(), [&dir.join("src/lib.rs")]);

        write(&dir.join("src/lib.rs"), "two, which is longer");
        changed(&mut watch).await;
        let after = watch.files().unwrap();
        assert_ne!(before, after);

        fs::create_dir(dir.join("wit")).unwrap();
        changed(&mut watch).await;
        assert_eq!(watch.files().unwrap(), after, "an empty folder is no change, and is watched");
        write(&dir.join("wit/plugin.wit"), "package a:b;");
        changed(&mut watch).await;
        assert_eq!(watch.files().unwrap().len(), 2);
        fs::remove_dir_all(dir.join("wit")).unwrap();
        changed(&mut watch).await;
        assert_eq!(watch.files().unwrap(), after);
        write(&dir.join("wit/plugin.wit"), "package c:d;");
        changed(&mut watch).await;
        let again = watch.files().unwrap();
        write(&dir.join("wit/plugin.wit"), "package longer:d;");
        changed(&mut watch).await;
        assert_ne!(watch.files().unwrap(), again, "a folder that comes again is watched again");
    }

    #[tokio::test]
    async fn what_is_made_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        write(&dir.join("app.py"), "one");
        for made in ["target/a.wasm", "dist/a.wasm", "node_modules/a/b.js", ".git/index", "__pycache__/a", "Cargo.lock"]
        {
            write(&dir.join(made), "made");
        }
        let mut watch = Watch::new(dir, None).unwrap();
        assert_eq!(watch.files().unwrap().keys().collect::<Vec<_>>(), [&dir.join("app.py")]);

        write(&dir.join("out/a.wasm"), "made");
        let mut watch = Watch::new(dir, Some(&dir.join("out/a.wasm"))).unwrap();
        assert_eq!(watch.files().unwrap().keys().collect::<Vec<_>>(), [&dir.join("app.py")]);
    }

    #[test]
    fn a_folder_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MAX_FILES {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert!(matches!(Watch::new(folder.path(), None).unwrap().files(), Err(Failure::Usage { .. })));
    }
}
