//! Which commits changed an application's folder.

use std::collections::HashMap;

use git2::{Commit, Oid, Repository, Revwalk, Sort};
use nexus_model::{Author, Change, DefinitionError};
use time::{OffsetDateTime, UtcOffset};

use super::{MAIN, branch_tree, folder_id, optional, revision, step};

/// Commits that are looked at for one answer; what lies further back is not found.
const LOOKED_AT: usize = 200_000;

/// The changes after the commit `before`, or the newest; newest first.
pub(super) fn page(
    repository: &Repository,
    app: &str,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<Change>, DefinitionError> {
    let mut changes = Changes::new(repository, app)?;
    if let Some(before) = before {
        let Ok(before) = Oid::from_str(before) else { return Ok(Vec::new()) };
        for change in &mut changes {
            if change?.0.id() == before {
                break;
            }
        }
    }
    changes.take(limit).map(|change| change.and_then(|(commit, folder)| told(&commit, folder))).collect()
}

/// Whether the application's folder ever was this tree.
pub(super) fn has(repository: &Repository, app: &str, tree: Oid) -> Result<bool, DefinitionError> {
    // What it is now is asked for most.
    if branch_tree(repository, MAIN)?.and_then(|root| folder_id(&root, app)) == Some(tree) {
        return Ok(true);
    }
    for change in Changes::new(repository, app)? {
        if change?.1 == Some(tree) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Commits whose folder is none of their parents', newest first, each with what the folder became.
struct Changes<'r> {
    repository: &'r Repository,
    walk: Option<Revwalk<'r>>,
    app: &'r str,
    /// The folders of commits that are parents of those seen already.
    known: HashMap<Oid, Option<Oid>>,
    left: usize,
}

impl<'r> Changes<'r> {
    fn new(repository: &'r Repository, app: &'r str) -> Result<Self, DefinitionError> {
        let walk = match optional(repository.refname_to_id(MAIN)).map_err(step("read the branch"))? {
            Some(tip) => Some(walk(repository, tip).map_err(step("walk the history"))?),
            None => None,
        };
        Ok(Self { repository, walk, app, known: HashMap::new(), left: LOOKED_AT })
    }

    /// What the commit did to the folder, if it did anything.
    fn look(&mut self, id: Oid) -> Result<Option<(Commit<'r>, Option<Oid>)>, git2::Error> {
        let commit = self.repository.find_commit(id)?;
        let folder = match self.known.remove(&id) {
            Some(folder) => folder,
            None => folder_id(&commit.tree()?, self.app),
        };
        let mut same = commit.parent_count() == 0 && folder.is_none();
        for parent in commit.parents() {
            let before = match self.known.get(&parent.id()) {
                Some(before) => *before,
                None => folder_id(&parent.tree()?, self.app),
            };
            self.known.insert(parent.id(), before);
            same |= before == folder;
        }
        Ok((!same).then_some((commit, folder)))
    }
}

impl<'r> Iterator for Changes<'r> {
    type Item = Result<(Commit<'r>, Option<Oid>), DefinitionError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            self.left -= 1;
            let id = self.walk.as_mut()?.next()?;
            match id.and_then(|id| self.look(id)) {
                Ok(None) => {}
                Ok(Some(change)) => return Some(Ok(change)),
                Err(error) => return Some(Err(step("walk the history")(error))),
            }
        }
        None
    }
}

fn walk(repository: &Repository, tip: Oid) -> Result<Revwalk<'_>, git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
    walk.push(tip)?;
    Ok(walk)
}

fn told(commit: &Commit<'_>, folder: Option<Oid>) -> Result<Change, DefinitionError> {
    let author = commit.author();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Change {
        commit: commit.id().to_string(),
        revision: folder.map(revision),
        author: Author { name: text(author.name_bytes()), email: text(author.email_bytes()) },
        at: moment(author.when())?,
        message: text(commit.message_bytes()).trim_end().to_owned(),
    })
}

fn moment(time: git2::Time) -> Result<OffsetDateTime, DefinitionError> {
    let wrong = |error: String| DefinitionError { step: "read a commit's time", reason: error };
    let utc = OffsetDateTime::from_unix_timestamp(time.seconds()).map_err(|error| wrong(error.to_string()))?;
    let offset = UtcOffset::from_whole_seconds(time.offset_minutes().saturating_mul(60)).ok();
    Ok(offset.and_then(|offset| utc.checked_to_offset(offset)).unwrap_or(utc))
}
