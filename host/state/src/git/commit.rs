//! Moving a branch forward.

use std::{path::Path, thread, time::Duration};

use git2::{Commit, ErrorCode, Oid, Repository, Signature, Tree};
use nexus_model::{Author, CommitError, DefinitionError};

use super::{
    optional,
    repository::{WriteGuard, WriteLock, sync_folder},
    step,
};

/// How often a change is made again because somebody else moved the branch.
const RETRIES: u32 = 5;
/// The first wait for a reference that Git has locked; doubles each time.
const PAUSE: Duration = Duration::from_millis(20);

/// What a change does to the root folder of a branch.
pub(super) enum Change {
    /// It is as wanted already.
    Nothing,
    /// It becomes this tree.
    Tree(Oid),
}

/// Makes a change as one commit on the branch's tip and returns the tip. `change` is given the present root folder, and
/// is asked again, at most [`RETRIES`] times, when the branch has moved meanwhile.
pub(super) fn advance(
    repository: &Repository,
    writing: &WriteLock,
    branch: &str,
    author: &Author,
    message: &str,
    change: impl Fn(Option<&Tree<'_>>) -> Result<Change, CommitError>,
) -> Result<Option<Oid>, CommitError> {
    let signature = signature(author)?;
    let mut guard = writing.acquire()?;
    for attempt in 0..=RETRIES {
        let parent = tip(repository, branch)?;
        let root = parent.as_ref().map(Commit::tree).transpose().map_err(step("read the branch's folder"))?;
        let Change::Tree(tree) = change(root.as_ref())? else {
            return Ok(parent.map(|parent| parent.id()));
        };
        let commit = write_commit(repository, &signature, message, tree, parent.as_ref())?;
        let from = parent.as_ref().map_or(Oid::ZERO_SHA1, Commit::id);
        if move_branch(repository, &mut guard, branch, from, commit)? {
            return Ok(Some(commit));
        }
        thread::sleep(PAUSE * 2_u32.pow(attempt));
    }
    let reason = format!("`{branch}` was moved or locked by others {} times in a row", RETRIES + 1);
    Err(DefinitionError { step: "move the branch", reason }.into())
}

fn tip<'r>(repository: &'r Repository, branch: &str) -> Result<Option<Commit<'r>>, DefinitionError> {
    let id = optional(repository.refname_to_id(branch)).map_err(step("read the branch"))?;
    id.map(|id| repository.find_commit(id)).transpose().map_err(step("read the branch's commit"))
}

fn write_commit(
    repository: &Repository,
    signature: &Signature<'_>,
    message: &str,
    tree: Oid,
    parent: Option<&Commit<'_>>,
) -> Result<Oid, DefinitionError> {
    let tree = repository.find_tree(tree).map_err(step("read the new folder"))?;
    let message = message.replace('\0', " ");
    let parents: Vec<_> = parent.into_iter().collect();
    let commit = repository.commit(None, signature, signature, &message, &tree, &parents);
    let commit = commit.map_err(step("write the commit"))?;
    // New folders of objects are entries of this one.
    sync(&repository.path().join("objects"))?;
    Ok(commit)
}

/// Moves the branch if it is still at `from` (zero: not there). Says whether it did.
pub(super) fn move_branch(
    repository: &Repository,
    guard: &mut WriteGuard<'_>,
    branch: &str,
    from: Oid,
    to: Oid,
) -> Result<bool, DefinitionError> {
    let moved = guard.moving(branch, || repository.reference_matching(branch, to, true, from, "").map(drop))?;
    match moved {
        Ok(()) => {}
        Err(error) if matches!(error.code(), ErrorCode::Modified | ErrorCode::Locked) => return Ok(false),
        Err(error) => return Err(step("move the branch")(error)),
    }
    if from.is_zero() {
        let reference = repository.path().join(branch);
        let folders = reference.ancestors().skip(1).take_while(|folder| *folder != repository.path());
        folders.chain([repository.path()]).try_for_each(sync)?;
    }
    Ok(true)
}

fn sync(folder: &Path) -> Result<(), DefinitionError> {
    sync_folder(folder).map_err(|error| DefinitionError { step: "sync the repository", reason: error.to_string() })
}

/// Git's author line has no place for angle brackets and line ends.
fn signature(author: &Author) -> Result<Signature<'static>, DefinitionError> {
    let plain = |text: &str, otherwise: &str| {
        let text: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).take(200).collect();
        if text.trim().is_empty() { otherwise.to_owned() } else { text }
    };
    let (name, email) = (plain(&author.name, "unknown"), plain(&author.email, "unknown@nexus.invalid"));
    Signature::now(&name, &email).map_err(step("name the author"))
}
