//! A repository elsewhere, kept in step by fast-forward only.

use std::{collections::BTreeSet, fs, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use git2::{
    Cred, CredentialType, Direction, ErrorClass, FetchOptions, Oid, PushOptions, Remote, RemoteCallbacks, Repository,
};
use nexus_model::{DefinitionError, DefinitionRemote, Moved, RemoteError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    GitDefinitions, MAIN,
    commit::move_branch,
    optional,
    repository::{WriteLock, sync_folder},
    step,
};

/// Where the remote's branch is kept here, to compare with. No branch: nobody works on it.
const SEEN: &str = "refs/nexus/remote";
/// How long a push or a fetch waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which remote, and as whom.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// A path, or `file://`, `http://` or `git://`.
    pub url: String,
    /// The remote's branch.
    pub branch: String,
    /// The user's name and the password or token, for `http://`.
    pub credentials: Option<(String, SecretString)>,
}

/// A URL that definitions cannot be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteUrlError {
    /// This program speaks no TLS and no SSH to Git servers.
    #[error(
        "`{0}://` is not spoken to Git servers: name a path, `file://`, `git://` or `http://` (for instance a proxy on \
         this machine that speaks TLS to the server)"
    )]
    Scheme(String),
    /// A password would cross a network in plain text.
    #[error("a password is sent over `http://` only to this machine itself (localhost, 127.0.0.1 or [::1])")]
    Plain,
    /// The password stands in the URL.
    #[error("the URL must not hold a password: name it by reference")]
    Inline,
    /// The branch's name.
    #[error("`{0}` is not the name of a branch")]
    Branch(String),
}

impl RemoteConfig {
    /// Whether definitions can be sent there at all, and safely.
    pub fn check(&self) -> Result<(), RemoteUrlError> {
        if !git2::Reference::is_valid_name(&format!("refs/heads/{}", self.branch)) {
            return Err(RemoteUrlError::Branch(self.branch.clone()));
        }
        let Some((scheme, rest)) = self.url.split_once("://") else {
            // `user@host:path` is SSH; a path of this machine has no colon before its first slash.
            let ssh = self.url.split('/').next().is_some_and(|first| first.contains(':'));
            return if ssh { Err(RemoteUrlError::Scheme("ssh".to_owned())) } else { Ok(()) };
        };
        let authority = rest.split('/').next().unwrap_or_default();
        match scheme {
            "http" if authority.contains('@') => Err(RemoteUrlError::Inline),
            "http" if self.credentials.is_some() && !is_local(authority) => Err(RemoteUrlError::Plain),
            "file" | "git" | "http" => Ok(()),
            other => Err(RemoteUrlError::Scheme(other.to_owned())),
        }
    }

    /// The remote's branch as a reference.
    fn wanted(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }
}

fn is_local(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}

/// The [`DefinitionRemote`] of a [`GitDefinitions`].
#[derive(Debug, Clone)]
pub struct GitRemote {
    definitions: GitDefinitions,
    config: Arc<RemoteConfig>,
    /// One at a time: a remote that hangs must not take the places of those who read and write definitions.
    turn: Arc<Semaphore>,
}

impl GitRemote {
    /// A remote that has not been looked at yet.
    pub fn new(definitions: GitDefinitions, config: RemoteConfig) -> Result<Self, RemoteUrlError> {
        config.check()?;
        Ok(Self { definitions, config: Arc::new(config), turn: Arc::new(Semaphore::new(1)) })
    }

    /// Connects and asks for the branches, and moves nothing.
    pub async fn reach(&self) -> Result<(), RemoteError> {
        let (config, turn) = (Arc::clone(&self.config), self.turn().await?);
        let work = move |repository: &Repository, _: &WriteLock| {
            let _turn = turn;
            branch(&mut remote(repository, &config)?, &config).map(drop)
        };
        self.definitions.blocking(work).await
    }
}

#[async_trait]
impl DefinitionRemote for GitRemote {
    async fn push(&self) -> Result<Moved, RemoteError> {
        let (config, turn) = (Arc::clone(&self.config), self.turn().await?);
        let work = move |repository: &Repository, _: &WriteLock| {
            let _turn = turn;
            push(repository, &config)
        };
        self.definitions.blocking(work).await
    }

    async fn fetch(&self) -> Result<Moved, RemoteError> {
        let (config, turn) = (Arc::clone(&self.config), self.turn().await?);
        let work = move |repository: &Repository, writing: &WriteLock| {
            let _turn = turn;
            fetch(repository, writing, &config)
        };
        self.definitions.blocking(work).await
    }
}

impl GitRemote {
    async fn turn(&self) -> Result<OwnedSemaphorePermit, RemoteError> {
        let waited = tokio::time::timeout(PATIENCE, Arc::clone(&self.turn).acquire_owned()).await;
        match waited {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(RemoteError::Unreachable("it is still busy with what was asked before".to_owned())),
        }
    }
}

/// How this host's commit and the remote's stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Equal,
    /// This host has commits that the remote lacks.
    Ahead,
    /// The remote has commits that this host lacks.
    Behind,
    Diverged,
}

fn standing(repository: &Repository, local: Option<Oid>, remote: Option<Oid>) -> Result<Standing, DefinitionError> {
    let has = |newer, older| repository.graph_descendant_of(newer, older).map_err(step("compare the histories"));
    Ok(match (local, remote) {
        (local, remote) if local == remote => Standing::Equal,
        (_, None) => Standing::Ahead,
        (None, _) => Standing::Behind,
        (Some(local), Some(remote)) if has(local, remote)? => Standing::Ahead,
        (Some(local), Some(remote)) if has(remote, local)? => Standing::Behind,
        _ => Standing::Diverged,
    })
}

fn push(repository: &Repository, config: &RemoteConfig) -> Result<Moved, RemoteError> {
    let seen = look(repository, config)?;
    let local = tip(repository)?;
    let at = |moved| Moved { head: local.map(|id| id.to_string()), moved };
    match standing(repository, local, seen)? {
        Standing::Equal => Ok(at(false)),
        Standing::Ahead => send(repository, config).map(|()| at(true)),
        Standing::Behind | Standing::Diverged => Err(diverged(local, seen)),
    }
}

fn fetch(repository: &Repository, writing: &WriteLock, config: &RemoteConfig) -> Result<Moved, RemoteError> {
    let seen = look(repository, config)?;
    let mut guard = writing.acquire()?;
    let local = tip(repository)?;
    match (standing(repository, local, seen)?, seen) {
        (Standing::Behind, Some(remote)) => {
            let from = local.unwrap_or(Oid::ZERO_SHA1);
            if !move_branch(repository, &mut guard, MAIN, from, remote)? {
                let reason = "somebody else moved it at the same time".to_owned();
                return Err(DefinitionError { step: "move the branch", reason }.into());
            }
            Ok(Moved { head: Some(remote.to_string()), moved: true })
        }
        (Standing::Diverged, _) => Err(diverged(local, seen)),
        _ => Ok(Moved { head: local.map(|id| id.to_string()), moved: false }),
    }
}

fn diverged(local: Option<Oid>, remote: Option<Oid>) -> RemoteError {
    let told = |id: Option<Oid>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    RemoteError::Diverged { local: told(local), remote: told(remote) }
}

fn tip(repository: &Repository) -> Result<Option<Oid>, DefinitionError> {
    optional(repository.refname_to_id(MAIN)).map_err(step("read the branch"))
}

/// Fetches the remote's branch and says what it is at.
fn look(repository: &Repository, config: &RemoteConfig) -> Result<Option<Oid>, RemoteError> {
    let mut remote = remote(repository, config)?;
    let Some(there) = branch(&mut remote, config)? else { return Ok(None) };
    if repository.find_commit(there).is_ok() {
        return Ok(Some(there));
    }
    let before = packs(repository).map_err(unsynced)?;
    let mut options = FetchOptions::new();
    options.remote_callbacks(callbacks(config)).download_tags(git2::AutotagOption::None).update_fetchhead(false);
    remote.fetch(&[format!("+{}:{SEEN}", config.wanted())], Some(&mut options), None).map_err(unreachable)?;
    sync_packs(repository, &before).map_err(unsynced)?;
    Ok(optional(repository.refname_to_id(SEEN)).map_err(step("read what was fetched"))?)
}

/// What the remote's branch is at, as the remote says.
fn branch(remote: &mut Remote<'_>, config: &RemoteConfig) -> Result<Option<Oid>, RemoteError> {
    let connection = remote.connect_auth(Direction::Fetch, Some(callbacks(config)), None).map_err(unreachable)?;
    let heads = connection.list().map_err(unreachable)?;
    Ok(heads.iter().find(|head| head.name() == config.wanted()).map(git2::RemoteHead::oid))
}

/// The files of `objects/pack`.
fn packs(repository: &Repository) -> io::Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(repository.path().join("objects/pack"))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Makes durable what was fetched: libgit2 syncs what it writes object by object, but not packs.
fn sync_packs(repository: &Repository, before: &BTreeSet<PathBuf>) -> io::Result<()> {
    for path in packs(repository)?.difference(before) {
        fs::File::open(path)?.sync_all()?;
    }
    sync_folder(&repository.path().join("objects/pack"))
}

#[expect(clippy::needless_pass_by_value, reason = "maps an error")]
fn unsynced(error: io::Error) -> DefinitionError {
    DefinitionError { step: "sync what was fetched", reason: error.to_string() }
}

fn send(repository: &Repository, config: &RemoteConfig) -> Result<(), RemoteError> {
    let refused = std::cell::RefCell::new(None);
    let mut callbacks = callbacks(config);
    callbacks.push_update_reference(|_, status| {
        *refused.borrow_mut() = status.map(str::to_owned);
        Ok(())
    });
    let mut options = PushOptions::new();
    options.remote_callbacks(callbacks);
    let sent = remote(repository, config)?.push(&[format!("{MAIN}:refs/heads/{}", config.branch)], Some(&mut options));
    drop(options);
    match (sent, refused.into_inner()) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(reason)) => Err(RemoteError::Refused(reason)),
        (Err(error), _) if error.class() == ErrorClass::Reference => {
            Err(RemoteError::Refused(error.message().to_owned()))
        }
        (Err(error), _) => Err(unreachable(error)),
    }
}

fn remote<'r>(repository: &'r Repository, config: &RemoteConfig) -> Result<Remote<'r>, RemoteError> {
    repository.remote_anonymous(&config.url).map_err(unreachable)
}

/// Credentials are offered once: a server that refuses them would be asked for ever.
fn callbacks(config: &RemoteConfig) -> RemoteCallbacks<'_> {
    let mut callbacks = RemoteCallbacks::new();
    let mut offered = false;
    callbacks.credentials(move |_, _, allowed| match &config.credentials {
        Some((user, password)) if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) && !offered => {
            offered = true;
            Cred::userpass_plaintext(user, password.expose_secret())
        }
        _ => Err(git2::Error::from_str("the remote asks for credentials, and takes none that there are")),
    });
    callbacks
}

#[expect(clippy::needless_pass_by_value, reason = "maps an error")]
fn unreachable(error: git2::Error) -> RemoteError {
    RemoteError::Unreachable(error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::{RemoteConfig, RemoteUrlError};

    fn checked(url: &str, password: bool) -> Result<(), RemoteUrlError> {
        let credentials = password.then(|| ("git".to_owned(), SecretString::from("x")));
        RemoteConfig { url: url.to_owned(), branch: "main".to_owned(), credentials }.check()
    }

    #[test]
    fn only_what_is_spoken_and_safe_is_taken() {
        for good in ["/srv/d.git", "../d.git", "file:///srv/d.git", "git://host/d.git", "http://host:8080/d.git"] {
            assert_eq!(checked(good, false), Ok(()), "{good}");
        }
        for bad in ["https://host/d.git", "ssh://git@host/d.git", "git@host:d.git", "ftp://host/d"] {
            assert!(matches!(checked(bad, false), Err(RemoteUrlError::Scheme(_))), "{bad}");
        }
        assert_eq!(checked("http://localhost:8080/d.git", true), Ok(()));
        assert_eq!(checked("http://[::1]:80/d.git", true), Ok(()));
        assert_eq!(checked("http://host/d.git", true), Err(RemoteUrlError::Plain));
        assert_eq!(checked("http://localhost.evil/d.git", true), Err(RemoteUrlError::Plain));
        assert_eq!(checked("http://me:secret@host/d.git", false), Err(RemoteUrlError::Inline));
        let odd = RemoteConfig { url: "/d".into(), branch: "a..b".into(), credentials: None };
        assert!(matches!(odd.check(), Err(RemoteUrlError::Branch(_))));
    }
}
