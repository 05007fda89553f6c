//! Definitions and a remote, checked with the `git` program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, process::Command, sync::Arc};

use nexus_model::{
    AppName, Author, DefinitionRemote, DefinitionStore, Expected, FileTree, Moved, RemoteError, Revision,
};
use nexus_state::{GitDefinitions, GitRemote, RemoteConfig};

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn write(store: &GitDefinitions, content: &str) -> Revision {
    let app: AppName = "a".parse().unwrap();
    let files: FileTree = [("app.yaml".to_owned(), Arc::from(content.as_bytes()))].into_iter().collect();
    let author = Author { name: "Ada".into(), email: "ada@nexus.invalid".into() };
    store.replace(&app, files, Expected::Any, &author, content).await.unwrap()
}

async fn head(store: &GitDefinitions) -> Option<String> {
    store.head().await.unwrap()
}

fn remote(store: &GitDefinitions, url: &str) -> GitRemote {
    let config = RemoteConfig { url: url.to_owned(), branch: "live".to_owned(), credentials: None };
    GitRemote::new(store.clone(), config).unwrap()
}

#[tokio::test]
async fn a_remote_is_kept_in_step_by_fast_forward_only() {
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("hub.git");
    git(folder.path(), &["init", "--quiet", "--bare", hub.to_str().unwrap()]);
    let one = GitDefinitions::open(&folder.path().join("one.git")).unwrap();
    let two = GitDefinitions::open(&folder.path().join("two.git")).unwrap();
    let (to, from) = (remote(&one, hub.to_str().unwrap()), remote(&two, &format!("file://{}", hub.display())));

    assert_eq!(from.fetch().await.unwrap(), Moved { head: None, moved: false }, "nothing anywhere");
    write(&one, "1").await;
    let pushed = to.push().await.unwrap();
    assert_eq!(pushed, Moved { head: head(&one).await, moved: true });
    assert_eq!(Some(git(&hub, &["rev-parse", "live"])), pushed.head);
    assert!(!to.push().await.unwrap().moved, "once is enough");
    assert_eq!(from.fetch().await.unwrap(), pushed);
    assert_eq!(head(&two).await, head(&one).await);

    write(&one, "2").await;
    assert!(!to.fetch().await.unwrap().moved, "the remote is behind: nothing is taken back");
    to.push().await.unwrap();
    assert!(from.fetch().await.unwrap().moved);

    write(&one, "3").await;
    write(&two, "other").await;
    from.push().await.unwrap();
    let (local, there) = (head(&one).await.unwrap(), head(&two).await.unwrap());
    for refused in [to.push().await.unwrap_err(), to.fetch().await.unwrap_err()] {
        assert!(matches!(&refused, RemoteError::Diverged { local: l, remote: r } if *l == local && *r == there));
        let text = refused.to_string();
        assert!(text.contains(&local) && text.contains(&there), "{text}");
    }
    assert_eq!(head(&one).await.unwrap(), local, "both sides are as they were");
    assert_eq!(git(&hub, &["rev-parse", "live"]), there);
    for repository in [one.path(), two.path(), &hub] {
        assert_eq!(git(repository, &["fsck", "--full", "--strict", "--no-dangling"]), "");
    }
}

#[tokio::test]
async fn a_remote_that_is_not_there_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = GitDefinitions::open(&folder.path().join("one.git")).unwrap();
    write(&store, "1").await;
    for url in [folder.path().join("nowhere.git").to_str().unwrap(), "http://127.0.0.1:1/d.git"] {
        let refused = remote(&store, url).push().await.unwrap_err();
        assert!(matches!(refused, RemoteError::Unreachable(_)), "{refused:?}");
    }
}
