//! What changed between two states of an application.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use nexus_model::{FileTree, Revision};
use serde::Serialize;
use similar::{Algorithm, ChangeTag, TextDiff};

/// Lines around a change.
const CONTEXT: usize = 3;
/// The largest file that is compared line by line, in bytes.
const LARGEST: usize = 1 << 20;
/// The most text of all patches together, in bytes; of what comes on top only the counts are told.
const PATCHES: usize = 4 << 20;
/// How long a file is compared; after that the patch is right, but no longer the shortest.
const PATIENCE: Duration = Duration::from_millis(500);

/// What changed between two revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The older.
    pub from: Revision,
    /// The newer.
    pub to: Revision,
    /// The files that differ, by path.
    pub files: Vec<FileDiff>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its content differs.
    Changed,
}

/// What changed in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// The file.
    pub path: String,
    /// What happened to it.
    pub change: FileChange,
    /// Lines that are new.
    pub added: usize,
    /// Lines that are gone.
    pub removed: usize,
    /// The unified diff with its two header lines; `None` for what is no text, and for what would be too long.
    pub patch: Option<String>,
}

impl Diff {
    /// All patches as one unified diff, as `git apply` and `patch -p1` read it. What has no patch is a line of its own,
    /// as `git diff` writes it.
    pub fn unified(&self) -> String {
        self.files.iter().fold(String::new(), |mut text, file| {
            match &file.patch {
                Some(patch) => text.push_str(patch),
                // Writing to a String does not fail.
                None => drop(writeln!(text, "Binary files a/{0} and b/{0} differ", file.path)),
            }
            text
        })
    }
}

/// Compares two states, file by file.
pub(super) fn diff(old: &FileTree, new: &FileTree) -> Vec<FileDiff> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut left = PATCHES;
    let differing = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    differing
        .map(|path| {
            let file = compare(path, old.get(path).map(AsRef::as_ref), new.get(path).map(AsRef::as_ref));
            let length = file.patch.as_ref().map_or(0, String::len);
            let Some(rest) = left.checked_sub(length) else { return FileDiff { patch: None, ..file } };
            left = rest;
            file
        })
        .collect()
}

/// What changed in a text, as a unified diff with three lines around each change; empty if nothing did.
pub fn text_diff(old: &str, new: &str) -> String {
    let lines = TextDiff::configure().algorithm(Algorithm::Myers).timeout(PATIENCE).diff_lines(old, new);
    lines.unified_diff().context_radius(CONTEXT).to_string()
}

fn compare(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> FileDiff {
    let change = match (old, new) {
        (None, _) => FileChange::Added,
        (_, None) => FileChange::Removed,
        _ => FileChange::Changed,
    };
    let (Some(before), Some(after)) = (text(old), text(new)) else {
        return FileDiff { path: path.to_owned(), change, added: 0, removed: 0, patch: None };
    };
    let lines = TextDiff::configure().algorithm(Algorithm::Myers).timeout(PATIENCE).diff_lines(before, after);
    let count = |tag| lines.iter_all_changes().filter(|line| line.tag() == tag).count();
    let named = |side: &str, there: bool| if there { format!("{side}/{path}") } else { "/dev/null".to_owned() };
    let (older, newer) = (named("a", old.is_some()), named("b", new.is_some()));
    let unified = lines.unified_diff().context_radius(CONTEXT).header(&older, &newer).to_string();
    FileDiff {
        path: path.to_owned(),
        change,
        added: count(ChangeTag::Insert),
        removed: count(ChangeTag::Delete),
        patch: Some(unified),
    }
}

/// What can be compared line by line. What is not there is as good as empty.
fn text(content: Option<&[u8]>) -> Option<&str> {
    let content = content.unwrap_or_default();
    (content.len() <= LARGEST && !content.contains(&0)).then(|| std::str::from_utf8(content).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_model::{FileTree, Revision};

    use super::{Diff, FileChange, diff};

    fn files(files: &[(&str, &[u8])]) -> FileTree {
        files.iter().map(|(path, content)| ((*path).to_owned(), Arc::from(*content))).collect()
    }

    #[test]
    fn every_kind_of_change_is_told_and_what_stays_is_not() {
        let old = files(&[("a", b"one\ntwo\nthree\n"), ("gone", b"x\n"), ("same", b"s"), ("wasm", b"\0asm")]);
        let new = files(&[("a", b"one\n2\nthree\n"), ("new", b"y\nz\n"), ("same", b"s"), ("wasm", b"\0asm1")]);
        let found = diff(&old, &new);
        let told: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.change, f.added, f.removed)).collect();
        assert_eq!(
            told,
            [
                ("a", FileChange::Changed, 1, 1),
                ("gone", FileChange::Removed, 0, 1),
                ("new", FileChange::Added, 2, 0),
                ("wasm", FileChange::Changed, 0, 0),
            ]
        );
        let revision = || Revision::from(String::new());
        let unified = Diff { from: revision(), to: revision(), files: found }.unified();
        assert_eq!(
            unified,
            "--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n\
             --- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
             --- /dev/null\n+++ b/new\n@@ -0,0 +1,2 @@\n+y\n+z\n\
             Binary files a/wasm and b/wasm differ\n"
        );
        assert!(diff(&new, &new).is_empty());
    }

    #[test]
    fn what_is_too_long_is_counted_only() {
        let line = "x".repeat(99) + "\n";
        let old = FileTree::new();
        let new: FileTree = (0..6).map(|n| (format!("f{n}"), Arc::from(line.repeat(9_000).as_bytes()))).collect();
        let found = diff(&old, &new);
        assert!(found[..4].iter().all(|file| file.patch.is_some()));
        assert!(found[5].patch.is_none() && found[5].added == 9_000);
    }
}
