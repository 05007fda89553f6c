use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use git2::{ObjectType, Oid};
use nexus_model::{
    AppName, Author, Change, CommitError, DefinitionError, DefinitionStore, Expected, FileTree, MemoryEdit, Revision,
    Snapshot, apply_memory,
};
use time::OffsetDateTime;

/// A [`DefinitionStore`] in memory.
#[derive(Debug, Default)]
pub struct MemoryDefinitions {
    branches: Mutex<Branches>,
}

#[derive(Debug, Default)]
struct Branches {
    commits: u64,
    head: Option<String>,
    apps: BTreeMap<AppName, FileTree>,
    /// Oldest first.
    changes: Vec<(AppName, Change, FileTree)>,
    code: BTreeMap<AppName, (String, FileTree)>,
    memory: BTreeMap<AppName, (String, FileTree)>,
}

impl Branches {
    fn next_commit(&mut self) -> String {
        self.commits += 1;
        format!("{:040x}", self.commits)
    }
}

impl MemoryDefinitions {
    fn branches(&self) -> MutexGuard<'_, Branches> {
        self.branches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DefinitionStore for MemoryDefinitions {
    async fn head(&self) -> Result<Option<String>, DefinitionError> {
        Ok(self.branches().head.clone())
    }

    async fn apps(&self) -> Result<BTreeMap<AppName, Revision>, DefinitionError> {
        let branches = self.branches();
        let apps = branches.apps.iter().filter(|(_, files)| files.contains_key("app.yaml"));
        apps.map(|(app, files)| Ok((app.clone(), revision(files)?))).collect()
    }

    async fn read(&self, app: &AppName) -> Result<Option<Snapshot>, DefinitionError> {
        let files = self.branches().apps.get(app).cloned();
        files.map(|files| Ok(Snapshot { revision: revision(&files)?, files })).transpose()
    }

    async fn history(&self, app: &AppName, before: Option<&str>, limit: usize) -> Result<Vec<Change>, DefinitionError> {
        let branches = self.branches();
        let changes = branches.changes.iter().rev().filter(|(name, ..)| name == app).map(|(_, change, _)| change);
        let from = changes.skip_while(|change| before.is_some_and(|before| change.commit != before));
        Ok(from.skip(usize::from(before.is_some())).take(limit).cloned().collect())
    }

    async fn read_at(&self, app: &AppName, revision: &Revision) -> Result<Option<Snapshot>, DefinitionError> {
        let branches = self.branches();
        let mut changes = branches.changes.iter().filter(|(name, ..)| name == app);
        let found = changes.find(|(_, change, _)| change.revision.as_ref() == Some(revision));
        Ok(found.map(|(_, _, files)| Snapshot { revision: revision.clone(), files: files.clone() }))
    }

    async fn read_file_at(
        &self,
        app: &AppName,
        revision: &Revision,
        path: &str,
    ) -> Result<Option<Arc<[u8]>>, DefinitionError> {
        Ok(self.read_at(app, revision).await?.and_then(|snapshot| snapshot.files.get(path).cloned()))
    }

    async fn replace(
        &self,
        app: &AppName,
        files: FileTree,
        expected: Expected,
        author: &Author,
        message: &str,
    ) -> Result<Revision, CommitError> {
        let mut branches = self.branches();
        let actual = branches.apps.get(app).map(revision).transpose()?;
        let holds = match &expected {
            Expected::Any => true,
            Expected::Absent => actual.is_none(),
            Expected::Revision(revision) => actual.as_ref() == Some(revision),
        };
        if !holds {
            return Err(CommitError::Conflict { actual });
        }
        let wanted = revision(&files)?;
        let unchanged = actual.as_ref() == Some(&wanted) || (actual.is_none() && files.is_empty());
        if !unchanged {
            let commit = branches.next_commit();
            branches.head = Some(commit.clone());
            let change = Change {
                commit,
                revision: (!files.is_empty()).then(|| wanted.clone()),
                author: author.clone(),
                at: OffsetDateTime::now_utc(),
                message: message.to_owned(),
            };
            branches.changes.push((app.clone(), change, files.clone()));
            if files.is_empty() {
                branches.apps.remove(app);
            } else {
                branches.apps.insert(app.clone(), files);
            }
        }
        Ok(wanted)
    }

    async fn commit_code(&self, app: &AppName, files: FileTree, _message: &str) -> Result<String, DefinitionError> {
        let mut branches = self.branches();
        let commit = branches.next_commit();
        let (tip, code) = branches.code.entry(app.clone()).or_default();
        let unchanged = !tip.is_empty() && files.iter().all(|(path, content)| code.get(path) == Some(content));
        if !unchanged {
            code.extend(files);
            *tip = commit;
        }
        Ok(tip.clone())
    }

    async fn read_memory(&self, app: &AppName) -> Result<(Option<String>, FileTree), DefinitionError> {
        let found = self.branches().memory.get(app).cloned();
        Ok(found.map_or_else(Default::default, |(commit, documents)| (Some(commit), documents)))
    }

    async fn commit_memory(
        &self,
        app: &AppName,
        edits: Vec<MemoryEdit>,
        _author: &Author,
        _message: &str,
    ) -> Result<Option<String>, CommitError> {
        let mut branches = self.branches();
        let (tip, before) = branches.memory.get(app).cloned().unwrap_or_default();
        let mut documents = before.clone();
        apply_memory(&mut documents, &edits);
        if documents == before {
            return Ok(Some(tip).filter(|tip| !tip.is_empty()));
        }
        let commit = branches.next_commit();
        branches.memory.insert(app.clone(), (commit.clone(), documents));
        Ok(Some(commit))
    }

    async fn read_code(&self, app: &AppName, folder: &str) -> Result<FileTree, DefinitionError> {
        let prefix = match folder.trim_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let branches = self.branches();
        let files = branches.code.get(app).into_iter().flat_map(|(_, files)| files);
        let below = files.filter_map(|(path, content)| Some((path.strip_prefix(&prefix)?.to_owned(), content.clone())));
        Ok(below.collect())
    }
}

/// Equal files, equal revision. Not the id that Git would give.
fn revision(files: &FileTree) -> Result<Revision, DefinitionError> {
    let mut listing = Vec::new();
    for (path, content) in files {
        listing.extend_from_slice(format!("{path}\0{}\0", content.len()).as_bytes());
        listing.extend_from_slice(content);
    }
    let id = Oid::hash_object(ObjectType::Blob, &listing)
        .map_err(|error| DefinitionError { step: "hash the files", reason: error.message().to_owned() })?;
    Ok(Revision::from(id.to_string()))
}
