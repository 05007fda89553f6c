//! Definitions in a bare Git repository.

mod commit;
mod history;
mod remote;
mod repository;
mod tree;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use git2::{ErrorCode, Oid, Repository, Tree};
use nexus_model::{
    AppName, Author, Change as AppChange, CommitError, DefinitionError, DefinitionStore, Expected, FileTree,
    MemoryEdit, Revision, Snapshot, apply_memory,
};
use tokio::sync::Semaphore;

pub use self::remote::{GitRemote, RemoteConfig, RemoteUrlError};
use self::{commit::Change, repository::WriteLock};
use crate::OpenError;

/// The branch of people's definitions.
const MAIN: &str = "refs/heads/main";
/// Calls that may use the disk at one time; more wait.
const CONCURRENCY: usize = 8;

/// The [`DefinitionStore`] in a bare Git repository: one folder per application at the root of the branch `main`, and a
/// branch `nexus/jit/{app}` for what the machine writes, and `nexus/memory/{app}` for what is to be remembered.
///
/// A folder at the root is an application when its name is an [`AppName`] and it holds an `app.yaml`. Several threads
/// and processes may use one repository, and people may clone it and push to it: a change moves its branch only from
/// the commit that it was made on. Objects and references are on the disk (fsync) before a change is acknowledged. A
/// change whose future is dropped may still be made.
#[derive(Debug, Clone)]
pub struct GitDefinitions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    places: Arc<Semaphore>,
    writing: WriteLock,
}

impl GitDefinitions {
    /// Opens the repository, or makes an empty one. Blocks for a moment.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        repository::open_or_create(path)?;
        let writing = WriteLock::new(path);
        let shared = Shared { path: path.to_owned(), places: Arc::new(Semaphore::new(CONCURRENCY)), writing };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The repository's folder.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Runs on the blocking pool, with a repository of its own: libgit2's are not shared between threads.
    async fn blocking<T, E>(
        &self,
        work: impl FnOnce(&Repository, &WriteLock) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DefinitionError> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let failed = |reason: String| E::from(DefinitionError { step: "use the definitions' repository", reason });
        let place = Arc::clone(&self.shared.places).acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        let worked = tokio::task::spawn_blocking(move || {
            let _place = place;
            let repository = Repository::open_bare(&shared.path).map_err(step("open the definitions' repository"))?;
            work(&repository, &shared.writing)
        });
        worked.await.unwrap_or_else(|error| Err(failed(error.to_string())))
    }
}

#[async_trait]
impl DefinitionStore for GitDefinitions {
    async fn head(&self) -> Result<Option<String>, DefinitionError> {
        self.blocking(|repository, _| {
            let id = optional(repository.refname_to_id(MAIN)).map_err(step("read the branch main"))?;
            Ok(id.map(|id| id.to_string()))
        })
        .await
    }

    async fn apps(&self) -> Result<BTreeMap<AppName, Revision>, DefinitionError> {
        self.blocking(|repository, _| {
            let Some(root) = branch_tree(repository, MAIN)? else { return Ok(BTreeMap::new()) };
            let apps = root.iter().filter_map(|entry| {
                let name = entry.name().ok()?.parse().ok()?;
                let folder = repository.find_tree(entry.id()).ok()?;
                folder.get_name("app.yaml")?;
                Some((name, revision(entry.id())))
            });
            Ok(apps.collect())
        })
        .await
    }

    async fn read(&self, app: &AppName) -> Result<Option<Snapshot>, DefinitionError> {
        let app = app.clone();
        self.blocking(move |repository, _| {
            let Some(root) = branch_tree(repository, MAIN)? else { return Ok(None) };
            let Some(id) = folder_id(&root, app.as_str()) else { return Ok(None) };
            let files = tree::read(repository, id)?;
            Ok(Some(Snapshot { revision: revision(id), files }))
        })
        .await
    }

    async fn history(
        &self,
        app: &AppName,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AppChange>, DefinitionError> {
        let (app, before) = (app.clone(), before.map(str::to_owned));
        self.blocking(move |repository, _| history::page(repository, app.as_str(), before.as_deref(), limit)).await
    }

    async fn read_at(&self, app: &AppName, revision: &Revision) -> Result<Option<Snapshot>, DefinitionError> {
        let (app, revision) = (app.clone(), revision.clone());
        self.blocking(move |repository, _| {
            let Ok(id) = Oid::from_str(&revision.0) else { return Ok(None) };
            if !history::has(repository, app.as_str(), id)? {
                return Ok(None);
            }
            Ok(Some(Snapshot { revision, files: tree::read(repository, id)? }))
        })
        .await
    }

    async fn read_file_at(
        &self,
        app: &AppName,
        revision: &Revision,
        path: &str,
    ) -> Result<Option<Arc<[u8]>>, DefinitionError> {
        let (app, revision, path) = (app.clone(), revision.clone(), path.to_owned());
        self.blocking(move |repository, _| {
            let Ok(id) = Oid::from_str(&revision.0) else { return Ok(None) };
            if history::has(repository, app.as_str(), id)? { tree::read_file(repository, id, &path) } else { Ok(None) }
        })
        .await
    }

    async fn replace(
        &self,
        app: &AppName,
        files: FileTree,
        expected: Expected,
        author: &Author,
        message: &str,
    ) -> Result<Revision, CommitError> {
        let (app, author, message) = (app.clone(), author.clone(), message.to_owned());
        self.blocking(move |repository, writing| {
            let folder = tree::write(repository, &files)?;
            commit::advance(repository, writing, MAIN, &author, &message, |root| {
                let actual = root.and_then(|root| folder_id(root, app.as_str()));
                as_expected(actual, &expected)?;
                Ok(match (actual, files.is_empty()) {
                    (None, true) => Change::Nothing,
                    (Some(actual), false) if actual == folder => Change::Nothing,
                    (_, empty) => {
                        Change::Tree(tree::with_folder(repository, root, app.as_str(), (!empty).then_some(folder))?)
                    }
                })
            })?;
            Ok(revision(folder))
        })
        .await
    }

    async fn commit_code(&self, app: &AppName, files: FileTree, message: &str) -> Result<String, DefinitionError> {
        let (branch, message) = (jit_branch(app), message.to_owned());
        let changed = self.blocking(move |repository, writing| {
            let host = Author { name: "Nexus".into(), email: "nexus@nexus.invalid".into() };
            commit::advance(repository, writing, &branch, &host, &message, |root| {
                let merged = tree::with_files(repository, root, &files)?;
                Ok(if root.is_some_and(|root| root.id() == merged) { Change::Nothing } else { Change::Tree(merged) })
            })
        });
        match changed.await {
            Ok(tip) => Ok(tip.map(|tip| tip.to_string()).unwrap_or_default()),
            Err(CommitError::Store(error)) => Err(error),
            Err(refused) => Err(DefinitionError { step: "commit code", reason: refused.to_string() }),
        }
    }

    async fn read_memory(&self, app: &AppName) -> Result<(Option<String>, FileTree), DefinitionError> {
        let branch = memory_branch(app);
        self.blocking(move |repository, _| {
            let tip = optional(repository.refname_to_id(&branch)).map_err(step("read a branch"))?;
            let Some(tip) = tip else { return Ok((None, FileTree::new())) };
            let tree = repository.find_commit(tip).map_err(step("read a branch's commit"))?.tree_id();
            Ok((Some(tip.to_string()), tree::read(repository, tree)?))
        })
        .await
    }

    async fn commit_memory(
        &self,
        app: &AppName,
        edits: Vec<MemoryEdit>,
        author: &Author,
        message: &str,
    ) -> Result<Option<String>, CommitError> {
        let (branch, author, message) = (memory_branch(app), author.clone(), message.to_owned());
        self.blocking(move |repository, writing| {
            let tip = commit::advance(repository, writing, &branch, &author, &message, |root| {
                let mut documents = root.map_or(Ok(FileTree::new()), |root| tree::read(repository, root.id()))?;
                apply_memory(&mut documents, &edits);
                let folder = tree::write(repository, &documents)?;
                let same = root.map_or(documents.is_empty(), |root| root.id() == folder);
                Ok(if same { Change::Nothing } else { Change::Tree(folder) })
            })?;
            Ok(tip.map(|tip| tip.to_string()))
        })
        .await
    }

    async fn read_code(&self, app: &AppName, folder: &str) -> Result<FileTree, DefinitionError> {
        let (branch, folder) = (jit_branch(app), folder.trim_matches('/').to_owned());
        self.blocking(move |repository, _| {
            let Some(root) = branch_tree(repository, &branch)? else { return Ok(FileTree::new()) };
            if folder.is_empty() {
                return tree::read(repository, root.id());
            }
            match optional(root.get_path(Path::new(&folder))).map_err(step("find the folder"))? {
                Some(entry) if entry.kind() == Some(git2::ObjectType::Tree) => tree::read(repository, entry.id()),
                _ => Ok(FileTree::new()),
            }
        })
        .await
    }
}

fn memory_branch(app: &AppName) -> String {
    format!("refs/heads/nexus/memory/{app}")
}

fn jit_branch(app: &AppName) -> String {
    format!("refs/heads/nexus/jit/{app}")
}

fn as_expected(actual: Option<Oid>, expected: &Expected) -> Result<(), CommitError> {
    let actual = actual.map(revision);
    let holds = match expected {
        Expected::Any => true,
        Expected::Absent => actual.is_none(),
        Expected::Revision(revision) => actual.as_ref() == Some(revision),
    };
    if holds { Ok(()) } else { Err(CommitError::Conflict { actual }) }
}

fn folder_id(root: &Tree<'_>, name: &str) -> Option<Oid> {
    root.get_name(name).filter(|entry| entry.kind() == Some(git2::ObjectType::Tree)).map(|entry| entry.id())
}

/// The root folder of a branch.
fn branch_tree<'r>(repository: &'r Repository, branch: &str) -> Result<Option<Tree<'r>>, DefinitionError> {
    let Some(tip) = optional(repository.refname_to_id(branch)).map_err(step("read a branch"))? else {
        return Ok(None);
    };
    let tree = repository.find_commit(tip).and_then(|commit| commit.tree());
    tree.map(Some).map_err(step("read a branch's commit"))
}

fn revision(tree: Oid) -> Revision {
    Revision::from(tree.to_string())
}

/// Not found is no error.
fn optional<T>(found: Result<T, git2::Error>) -> Result<Option<T>, git2::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says what was being done when Git failed.
fn step(step: &'static str) -> impl Fn(git2::Error) -> DefinitionError {
    move |error| DefinitionError { step, reason: error.message().to_owned() }
}
