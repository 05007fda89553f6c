//! Files to Git trees and back.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
    sync::Arc,
};

use git2::{FileMode, ObjectType, Oid, Repository, Tree, TreeEntry, build::TreeUpdateBuilder};
use nexus_model::{CommitError, DefinitionError, FileTree};

use super::{optional, step};
use crate::bounds::{MAX_DEPTH, Tally};

const BLOB: i32 = 0o100_644;
const TREE: i32 = 0o040_000;

/// Writes a folder and returns its tree.
pub(super) fn write(repository: &Repository, files: &FileTree) -> Result<Oid, CommitError> {
    let blobs = write_blobs(repository, files)?;
    let mut root = Folder::default();
    for (path, blob) in &blobs {
        root.insert(path, *blob)?;
    }
    Ok(root.write(repository)?)
}

/// The tree of `base` with files added or replaced.
pub(super) fn with_files(
    repository: &Repository,
    base: Option<&Tree<'_>>,
    files: &FileTree,
) -> Result<Oid, CommitError> {
    let empty;
    let base = if let Some(base) = base {
        base
    } else {
        let id = repository.treebuilder(None).and_then(|builder| builder.write());
        empty = id.and_then(|id| repository.find_tree(id)).map_err(step("write a folder"))?;
        &empty
    };
    let mut update = TreeUpdateBuilder::new();
    for (path, blob) in write_blobs(repository, files)? {
        update.upsert(path, blob, FileMode::Blob);
    }
    Ok(update.create_updated(repository, base).map_err(step("write a folder"))?)
}

/// The tree of `root` with one folder replaced, or removed if there is none.
pub(super) fn with_folder(
    repository: &Repository,
    root: Option<&Tree<'_>>,
    name: &str,
    folder: Option<Oid>,
) -> Result<Oid, DefinitionError> {
    let changed = || {
        let mut builder = repository.treebuilder(root)?;
        match folder {
            Some(folder) => drop(builder.insert(name, folder, TREE)?),
            None => builder.remove(name)?,
        }
        builder.write()
    };
    changed().map_err(step("write the root folder"))
}

/// Reads all files below a tree, within the bounds of an application.
pub(super) fn read(repository: &Repository, tree: Oid) -> Result<FileTree, DefinitionError> {
    let mut reading = Reading { repository, files: FileTree::new(), tally: Tally::default() };
    reading.folder(tree, "", 0)?;
    Ok(reading.files)
}

/// Reads one file below a tree, within the bounds of an application.
pub(super) fn read_file(repository: &Repository, tree: Oid, path: &str) -> Result<Option<Arc<[u8]>>, DefinitionError> {
    let path_in_tree = Path::new(path);
    // libgit2 takes other paths for mistakes of its caller.
    if path.is_empty() || !path_in_tree.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(None);
    }
    let tree = repository.find_tree(tree).map_err(step("read a folder"))?;
    let Some(entry) = optional(tree.get_path(path_in_tree)).map_err(step("find a file"))? else { return Ok(None) };
    if entry.kind() != Some(ObjectType::Blob) || entry.filemode() == i32::from(FileMode::Link) {
        return Ok(None);
    }
    let blob = repository.find_blob(entry.id()).map_err(step("read a file"))?;
    Tally::default().add(blob.size() as u64).map_err(|reason| unreadable(path, reason))?;
    Ok(Some(Arc::from(blob.content())))
}

struct Reading<'r> {
    repository: &'r Repository,
    files: FileTree,
    tally: Tally,
}

impl Reading<'_> {
    fn folder(&mut self, tree: Oid, prefix: &str, depth: usize) -> Result<(), DefinitionError> {
        self.tally.enter(depth).map_err(|reason| unreadable(prefix, reason))?;
        let tree = self.repository.find_tree(tree).map_err(step("read a folder"))?;
        tree.iter().try_for_each(|entry| self.entry(&entry, prefix, depth))
    }

    fn entry(&mut self, entry: &TreeEntry<'_>, prefix: &str, depth: usize) -> Result<(), DefinitionError> {
        let name = entry.name().map_err(|_| unreadable(prefix, "a file's name is not UTF-8"))?;
        let path = format!("{prefix}{name}");
        match (entry.kind(), entry.filemode()) {
            (Some(ObjectType::Tree), _) => self.folder(entry.id(), &format!("{path}/"), depth + 1),
            (Some(ObjectType::Blob), mode) if mode != i32::from(FileMode::Link) => {
                let size = self.repository.odb().and_then(|odb| odb.read_header(entry.id()));
                let (size, _) = size.map_err(step("read a file"))?;
                self.tally.add(size as u64).map_err(|reason| unreadable(&path, reason))?;
                let blob = self.repository.find_blob(entry.id()).map_err(step("read a file"))?;
                self.files.insert(path, Arc::from(blob.content()));
                Ok(())
            }
            _ => Err(unreadable(&path, "it is neither a file nor a folder (a symbolic link, or another repository)")),
        }
    }
}

fn write_blobs<'f>(repository: &Repository, files: &'f FileTree) -> Result<Vec<(&'f str, Oid)>, CommitError> {
    let mut tally = Tally::default();
    for (path, content) in files {
        check_path(path)?;
        tally.add(content.len() as u64).map_err(|reason| refused(path, reason))?;
    }
    let blobs = files.iter().map(|(path, content)| {
        let blob = repository.blob(content).map_err(step("write a file"))?;
        Ok((path.as_str(), blob))
    });
    blobs.collect()
}

/// A folder that is being written.
#[derive(Default)]
struct Folder<'f> {
    entries: BTreeMap<&'f str, Node<'f>>,
}

enum Node<'f> {
    File(Oid),
    Folder(Folder<'f>),
}

impl<'f> Folder<'f> {
    fn insert(&mut self, path: &'f str, blob: Oid) -> Result<(), CommitError> {
        let Some((folder, rest)) = path.split_once('/') else {
            let taken = self.entries.insert(path, Node::File(blob));
            return if taken.is_some() { Err(refused(path, "a folder has that name too")) } else { Ok(()) };
        };
        match self.entries.entry(folder).or_insert_with(|| Node::Folder(Self::default())) {
            Node::Folder(folder) => folder.insert(rest, blob),
            Node::File(_) => Err(refused(folder, "a folder has that name too")),
        }
    }

    fn write(&self, repository: &Repository) -> Result<Oid, DefinitionError> {
        let mut builder = repository.treebuilder(None).map_err(step("write a folder"))?;
        for (name, node) in &self.entries {
            let (id, mode) = match node {
                Node::File(blob) => (*blob, BLOB),
                Node::Folder(folder) => (folder.write(repository)?, TREE),
            };
            builder.insert(*name, id, mode).map_err(step("write a folder"))?;
        }
        builder.write().map_err(step("write a folder"))
    }
}

/// Refuses paths that are no plain relative path on some system, or that Git keeps for itself.
fn check_path(path: &str) -> Result<(), CommitError> {
    let bad = |part: &str| {
        matches!(part, "" | "." | "..")
            || part.eq_ignore_ascii_case(".git")
            || part.len() > 255
            || part.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
    };
    if path.split('/').any(bad) || path.split('/').count() > MAX_DEPTH {
        return Err(refused(path, "it is not a plain relative path"));
    }
    Ok(())
}

fn refused(path: &str, reason: impl Into<String>) -> CommitError {
    CommitError::Refused { path: path.to_owned(), reason: reason.into() }
}

fn unreadable(path: &str, reason: impl std::fmt::Display) -> DefinitionError {
    DefinitionError { step: "check the files", reason: format!("`{path}`: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::check_path;

    #[test]
    fn paths_are_plain_and_relative() {
        for good in ["app.yaml", "prompts/a b.yml", "x/ä.json", ".hidden"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/./b", ".git/config", "a/.GIT", "a\\b", "c:", "a\nb"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }
}
