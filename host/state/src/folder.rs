//! Applications as plain folders.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use nexus_model::{AppName, FileTree, InvalidName};

use crate::bounds::{MAX_FILE_BYTES, Tally};

/// The file that makes a folder an application.
const MANIFEST: &str = "app.yaml";

/// A folder was not read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system refused.
    #[error("`{}` cannot be read", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder holds an `app.yaml`, but its name is no application's.
    #[error("`{}` cannot be an application", .path.display())]
    Name {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: InvalidName,
    },
    /// Something in it is not allowed.
    #[error("`{}`: {reason}", .path.display())]
    Refused {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Reads the applications of a folder: each sub-folder with an `app.yaml` is one, named after the folder; others are
/// passed over. `dir` itself is the one application if it has an `app.yaml`.
///
/// Each application is read as [`read_app`] does. Blocks.
pub fn read_apps(dir: &Path) -> Result<BTreeMap<AppName, FileTree>, FolderError> {
    let root = canonical(dir)?;
    if root.join(MANIFEST).is_file() {
        return Ok(BTreeMap::from([(app_name(&root)?, read_app(&root)?)]));
    }
    let mut apps = BTreeMap::new();
    for path in children(&root)? {
        if path.join(MANIFEST).is_file() {
            inside(&root, &path)?;
            apps.insert(app_name(&path)?, read_app(&path)?);
        }
    }
    Ok(apps)
}

/// Reads the files of one application, keyed by their paths relative to `dir`, with `/`. Blocks.
///
/// Hidden files and folders are passed over. Symbolic links are followed within the folder and refused if they leave it.
/// At most 2,000 files, 16 MiB each and 64 MiB together.
pub fn read_app(dir: &Path) -> Result<FileTree, FolderError> {
    let root = canonical(dir)?;
    let mut reading = Reading { root: &root, files: FileTree::new(), tally: Tally::default() };
    reading.folder(&root, "", 0)?;
    Ok(reading.files)
}

struct Reading<'a> {
    root: &'a Path,
    files: FileTree,
    tally: Tally,
}

impl Reading<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), FolderError> {
        self.tally.enter(depth).map_err(|reason| refused(folder, reason))?;
        for path in children(folder)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| refused(&path, "its name is not UTF-8".into()))?;
            let relative = format!("{prefix}{name}");
            let real = inside(self.root, &path)?;
            let metadata = fs::metadata(&real).map_err(unreadable(&path))?;
            if metadata.is_dir() {
                self.folder(&path, &format!("{relative}/"), depth + 1)?;
            } else if metadata.is_file() {
                self.file(&real, relative)?;
            } else {
                return Err(refused(&path, "it is neither a file nor a folder".into()));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, relative: String) -> Result<(), FolderError> {
        let mut content = Vec::new();
        let file = File::open(path).map_err(unreadable(path))?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(unreadable(path))?;
        self.tally.add(content.len() as u64).map_err(|reason| refused(path, reason))?;
        self.files.insert(relative, Arc::from(content));
        Ok(())
    }
}

/// What a folder holds, hidden entries left out, in the order of names.
fn children(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let entry = entry.map_err(unreadable(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The real path, unless it leads out of `root`.
fn inside(root: &Path, path: &Path) -> Result<PathBuf, FolderError> {
    let real = canonical(path)?;
    if real.starts_with(root) { Ok(real) } else { Err(refused(path, "the symbolic link leaves the folder".into())) }
}

fn canonical(path: &Path) -> Result<PathBuf, FolderError> {
    fs::canonicalize(path).map_err(unreadable(path))
}

fn app_name(folder: &Path) -> Result<AppName, FolderError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.parse().map_err(|source| FolderError::Name { path: folder.to_owned(), source })
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> FolderError {
    move |source| FolderError::Io { path: path.to_owned(), source }
}

fn refused(path: &Path, reason: String) -> FolderError {
    FolderError::Refused { path: path.to_owned(), reason }
}
