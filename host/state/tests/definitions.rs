//! Definitions in Git, checked with the `git` program.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking and shows its figures")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use nexus_model::{
    AppName, Author, CommitError, DefinitionStore, Expected, FileTree, MemoryAction, MemoryEdit, Revision,
};
use nexus_state::{GitDefinitions, OpenError, memory::MemoryDefinitions};

fn app(name: &str) -> AppName {
    name.parse().unwrap()
}

fn author() -> Author {
    Author { name: "Ada".into(), email: "ada@nexus.invalid".into() }
}

fn files<const N: usize>(files: [(&str, &str); N]) -> FileTree {
    files.into_iter().map(|(path, content)| (path.to_owned(), Arc::from(content.as_bytes()))).collect()
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Bob", "-c", "user.email=bob@nexus.invalid"]).arg("-C").arg(folder).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `git fsck` finds nothing, not even a dangling tag.
fn assert_sound(repository: &Path) {
    let found = git(repository, &["fsck", "--full", "--strict", "--no-dangling"]);
    assert_eq!(found, "");
}

/// What holds for every definition store.
async fn keeps_the_contract(store: &impl DefinitionStore) {
    let (a, b) = (app("a"), app("b"));
    assert_eq!(store.head().await.unwrap(), None);
    assert!(store.apps().await.unwrap().is_empty());
    assert!(store.read(&a).await.unwrap().is_none());

    let first = files([("app.yaml", "one"), ("prompts/x/y.yml", "two"), ("prompts.yml", "three")]);
    let one = store.replace(&a, first.clone(), Expected::Absent, &author(), "Add a").await.unwrap();
    let head = store.head().await.unwrap();
    let read = store.read(&a).await.unwrap().unwrap();
    assert_eq!((read.revision, read.files), (one.clone(), first.clone()));

    let same = store.replace(&a, first.clone(), Expected::Any, &author(), "Again").await.unwrap();
    assert_eq!((same, store.head().await.unwrap()), (one.clone(), head.clone()), "no commit when nothing changes");

    for expected in [Expected::Absent, Expected::Revision(Revision::from("0".repeat(40)))] {
        let refused = store.replace(&a, files([("app.yaml", "x")]), expected, &author(), "No").await;
        let Err(CommitError::Conflict { actual }) = refused else { panic!("{refused:?}") };
        assert_eq!(actual, Some(one.clone()));
    }
    let refused = store.replace(&b, first, Expected::Revision(one.clone()), &author(), "No").await;
    assert!(matches!(refused, Err(CommitError::Conflict { actual: None })));

    let second = files([("app.yaml", "changed")]);
    store.replace(&b, files([("app.yaml", "b")]), Expected::Absent, &author(), "Add b").await.unwrap();
    let two = store.replace(&a, second.clone(), Expected::Revision(one), &author(), "Change a").await.unwrap();
    assert_ne!(store.head().await.unwrap(), head);
    assert_eq!(store.read(&a).await.unwrap().unwrap().files, second, "exactly these files");
    assert_eq!(store.apps().await.unwrap().keys().cloned().collect::<Vec<_>>(), [a.clone(), b.clone()]);
    assert_eq!(store.apps().await.unwrap()[&a], two);

    store.replace(&a, FileTree::new(), Expected::Revision(two.clone()), &author(), "Remove a").await.unwrap();
    assert!(store.read(&a).await.unwrap().is_none(), "no files, no application");
    remembers(store, &two, &second).await;
    assert_eq!(store.apps().await.unwrap().len(), 1);
    code_has_a_branch_of_its_own(store).await;
    memory_has_a_branch_of_its_own(store).await;
}

async fn memory_has_a_branch_of_its_own(store: &impl DefinitionStore) {
    let b = app("b");
    let edit = |path: &str, action| MemoryEdit { path: path.to_owned(), action };
    let bytes = |text: &str| Arc::<[u8]>::from(text.as_bytes());
    let head = store.head().await.unwrap();
    assert_eq!(store.read_memory(&b).await.unwrap(), (None, FileTree::new()));
    let first = vec![
        edit("brief.md", MemoryAction::Write(bytes("one\n"))),
        edit("context.md", MemoryAction::Append(bytes("a\n"))),
        edit("context.md", MemoryAction::Append(bytes("b\n"))),
        edit("knowledge/x.md", MemoryAction::Write(bytes("x"))),
    ];
    let one = store.commit_memory(&b, first, &author(), "Remember").await.unwrap();
    let again = vec![edit("brief.md", MemoryAction::Write(bytes("one\n")))];
    assert_eq!(store.commit_memory(&b, again, &author(), "Again").await.unwrap(), one, "nothing changed");
    let remove = vec![edit("knowledge/x.md", MemoryAction::Remove), edit("none", MemoryAction::Remove)];
    let two = store.commit_memory(&b, remove, &author(), "Forget").await.unwrap();
    let documents = files([("brief.md", "one\n"), ("context.md", "a\nb\n")]);
    assert_eq!(store.read_memory(&b).await.unwrap(), (two, documents));
    assert!(store.read_memory(&app("a")).await.unwrap().1.is_empty());
    assert_eq!(store.head().await.unwrap(), head, "people's branch stays");
}

/// `a` was added, changed to `two` and removed, `b` was added.
async fn remembers(store: &impl DefinitionStore, two: &Revision, second: &FileTree) {
    let (a, b) = (app("a"), app("b"));
    let history = store.history(&a, None, 10).await.unwrap();
    let messages: Vec<_> = history.iter().map(|change| change.message.as_str()).collect();
    assert_eq!(messages, ["Remove a", "Change a", "Add a"], "newest first, and what others did is not in it");
    assert_eq!(history[0].author, author());
    assert_eq!((&history[0].revision, history[1].revision.as_ref()), (&None, Some(two)));
    let next = store.history(&a, Some(&history[0].commit), 1).await.unwrap();
    assert_eq!(next, history[1..2]);
    assert!(store.history(&a, Some(&"0".repeat(40)), 9).await.unwrap().is_empty());
    assert!(store.history(&app("nobody"), None, 9).await.unwrap().is_empty());
    assert_eq!(&store.read_at(&a, two).await.unwrap().unwrap().files, second, "what was removed can be read");
    let others = store.apps().await.unwrap()[&b].clone();
    assert!(store.read_at(&b, &others).await.unwrap().is_some());
    assert!(store.read_at(&a, &others).await.unwrap().is_none(), "another application's tree is not found");
    assert!(store.read_at(&a, &Revision::from("nonsense".to_owned())).await.unwrap().is_none());
    for (path, content) in second {
        assert_eq!(store.read_file_at(&a, two, path).await.unwrap().as_ref(), Some(content), "{path}");
        assert!(store.read_file_at(&a, &others, path).await.unwrap().is_none(), "another application's tree");
    }
    for nothing in ["none", "app.yaml/x", "..", ""] {
        assert!(store.read_file_at(&a, two, nothing).await.unwrap().is_none(), "{nothing:?}");
    }
}

async fn code_has_a_branch_of_its_own(store: &impl DefinitionStore) {
    let b = app("b");
    let head = store.head().await.unwrap();
    assert!(store.read_code(&b, "").await.unwrap().is_empty());
    let one =
        store.commit_code(&b, files([("op/v1/code.js", "1"), ("op/v1/evidence.json", "{}")]), "v1").await.unwrap();
    let two = store.commit_code(&b, files([("op/v2/code.js", "2")]), "v2").await.unwrap();
    assert_ne!(one, two);
    assert_eq!(store.commit_code(&b, files([("op/v2/code.js", "2")]), "again").await.unwrap(), two);
    assert_eq!(store.read_code(&b, "op/v1").await.unwrap(), files([("code.js", "1"), ("evidence.json", "{}")]));
    assert_eq!(store.read_code(&b, "op").await.unwrap().len(), 3);
    assert!(store.read_code(&b, "op/v3").await.unwrap().is_empty());
    assert!(store.read_code(&app("a"), "op").await.unwrap().is_empty());
    assert_eq!(store.head().await.unwrap(), head, "people's branch stays");
}

#[tokio::test]
async fn git_and_memory_keep_the_contract() {
    keeps_the_contract(&MemoryDefinitions::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("definitions.git");
    keeps_the_contract(&GitDefinitions::open(&path).unwrap()).await;
    assert_sound(&path);
    let log = git(&path, &["log", "--format=%an <%ae> %s", "main"]);
    assert_eq!(log.lines().next_back(), Some("Ada <ada@nexus.invalid> Add a"));
    assert_eq!(log.lines().count(), 4);
    let again = GitDefinitions::open(&path).unwrap();
    assert_eq!(again.apps().await.unwrap().len(), 1, "after a restart");
}

#[tokio::test]
async fn paths_and_sizes_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let store = GitDefinitions::open(&folder.path().join("definitions.git")).unwrap();
    let many: FileTree = (0..2_001).map(|number| (format!("f{number}"), Arc::from(&b"x"[..]))).collect();
    let large = FileTree::from([("app.yaml".to_owned(), Arc::from(vec![0; (32 << 20) + 1]))]);
    let odd = ["../x", "/x", "a//b", ".git/hooks/x", "a\nb"].map(|path| files([(path, "x")]));
    let clash = files([("a", "file"), ("a/b", "below it")]);
    for refused in [many, large, clash].into_iter().chain(odd) {
        let paths: Vec<_> = refused.keys().take(2).cloned().collect();
        let outcome = store.replace(&app("a"), refused, Expected::Any, &author(), "No").await;
        assert!(matches!(outcome, Err(CommitError::Refused { .. })), "{paths:?}: {outcome:?}");
    }
    assert_eq!(store.head().await.unwrap(), None);
    let odd_author = Author { name: "A\n<b>".into(), email: String::new() };
    store.replace(&app("a"), files([("app.yaml", "1")]), Expected::Any, &odd_author, "A\0b").await.unwrap();
    assert_sound(store.path());
}

/// How often each of many writers writes: `NEXUS_TEST_ROUNDS`, 5 if it is not set. `cargo xtask soak writers` sets it.
fn rounds() -> usize {
    support::variable("NEXUS_TEST_ROUNDS").and_then(|rounds| rounds.parse().ok()).unwrap_or(5)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_of_one_file_lose_nothing() {
    race(rounds(), |_| "shared".to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_of_many_applications_lose_nothing() {
    race(3, |writer| if writer % 2 == 0 { "shared".to_owned() } else { format!("own-{writer}") }).await;
}

/// Sixteen writers add a line to the file of their application, `rounds` times each; none is lost.
async fn race(rounds: usize, application: impl Fn(usize) -> String) {
    const WRITERS: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("definitions.git");
    let started = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        // A store each, as processes have.
        let store = GitDefinitions::open(&path).unwrap();
        let name = app(&application(writer));
        writers.spawn(async move {
            for round in 0..rounds {
                add_line(&store, &name, &format!("{writer}/{round}\n")).await;
            }
        });
    }
    writers.join_all().await;
    eprintln!("{} compare-and-set commits: {:?}", WRITERS * rounds, started.elapsed());
    let store = GitDefinitions::open(&path).unwrap();
    let sharing = (0..WRITERS).filter(|writer| application(*writer) == "shared").count();
    let shared = store.read(&app("shared")).await.unwrap().unwrap();
    let lines: BTreeSet<_> =
        std::str::from_utf8(&shared.files["app.yaml"]).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), sharing * rounds, "0 lost");
    assert_eq!(git(&path, &["rev-list", "--count", "main"]), (WRITERS * rounds).to_string());
    assert_sound(&path);
}

/// Reads, adds a line, and commits if nobody changed the application meanwhile, until it does.
async fn add_line(store: &GitDefinitions, app: &AppName, line: &str) {
    loop {
        let snapshot = store.read(app).await.unwrap();
        let (expected, text) = match snapshot {
            Some(snapshot) => {
                let text = String::from_utf8(snapshot.files["app.yaml"].to_vec()).unwrap();
                (Expected::Revision(snapshot.revision), text)
            }
            None => (Expected::Absent, String::new()),
        };
        let files = files([("app.yaml", &*(text + line))]);
        match store.replace(app, files, expected, &author(), "Add a line").await {
            Ok(_) => return,
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_people_push_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("definitions.git");
    let store = GitDefinitions::open(&path).unwrap();
    store.replace(&app("a"), files([("app.yaml", "1")]), Expected::Absent, &author(), "Add a").await.unwrap();
    let before = store.head().await.unwrap();

    let clone = folder.path().join("clone");
    git(folder.path(), &["clone", "--quiet", path.to_str().unwrap(), clone.to_str().unwrap()]);
    fs::create_dir_all(clone.join("b/prompts")).unwrap();
    fs::create_dir_all(clone.join("docs")).unwrap();
    fs::write(clone.join("README.md"), "about").unwrap();
    fs::write(clone.join("docs/x.md"), "no application").unwrap();
    fs::write(clone.join("a/app.yaml"), "2").unwrap();
    fs::write(clone.join("b/app.yaml"), "b").unwrap();
    fs::write(clone.join("b/prompts/p.yml"), "p").unwrap();
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "--quiet", "-m", "By hand"]);
    git(&clone, &["push", "--quiet", "origin", "main"]);
    // Packed objects and references are seen as loose ones are.
    git(&path, &["gc", "--quiet"]);

    assert_eq!(store.head().await.unwrap(), Some(git(&clone, &["rev-parse", "HEAD"])));
    assert_ne!(store.head().await.unwrap(), before);
    assert_eq!(store.apps().await.unwrap().len(), 2, "folders without app.yaml are none");
    assert_eq!(store.read(&app("a")).await.unwrap().unwrap().files, files([("app.yaml", "2")]));
    let b = store.read(&app("b")).await.unwrap().unwrap();
    assert_eq!(b.files, files([("app.yaml", "b"), ("prompts/p.yml", "p")]));
    assert_eq!(&*b.revision.0, git(&clone, &["rev-parse", "HEAD:b"]), "the revision is the tree's id");

    store
        .replace(&app("b"), files([("app.yaml", "c")]), Expected::Revision(b.revision), &author(), "Change b")
        .await
        .unwrap();
    git(&clone, &["pull", "--quiet"]);
    assert_eq!(fs::read_to_string(clone.join("b/app.yaml")).unwrap(), "c");
    assert!(clone.join("README.md").exists(), "what is no application stays");

    std::os::unix::fs::symlink("/etc/passwd", clone.join("b/link")).unwrap();
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "--quiet", "-m", "A link"]);
    git(&clone, &["push", "--quiet", "origin", "main"]);
    let refused = store.read(&app("b")).await.unwrap_err();
    assert!(refused.to_string().contains("`link`"), "{refused}");
    assert_sound(&path);
}

#[tokio::test]
async fn a_damaged_repository_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("definitions.git");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("HEAD"), "nonsense").unwrap();
    let error = GitDefinitions::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Repository { .. }) && error.to_string().contains("git fsck"), "{error:?}");

    let path = folder.path().join("other.git");
    let store = GitDefinitions::open(&path).unwrap();
    store.replace(&app("a"), files([("app.yaml", "1")]), Expected::Absent, &author(), "Add a").await.unwrap();
    let tip = store.head().await.unwrap().unwrap();
    fs::remove_file(path.join("objects").join(&tip[..2]).join(&tip[2..])).unwrap();
    assert!(matches!(GitDefinitions::open(&path), Err(OpenError::Repository { .. })));
    assert!(store.read(&app("a")).await.is_err(), "a missing object is no missing application");
}

#[tokio::test]
async fn locks_of_the_dead_are_removed_and_those_of_others_respected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("definitions.git");
    let store = GitDefinitions::open(&path).unwrap();
    let replace = async |content| {
        store.replace(&app("a"), files([("app.yaml", content)]), Expected::Any, &author(), "Change").await
    };
    replace("1").await.unwrap();

    // As a host leaves them that is killed while it moves the branch.
    fs::write(path.join("refs/heads/main.lock"), "").unwrap();
    fs::write(path.join("nexus-write.lock"), "refs/heads/main").unwrap();
    replace("2").await.unwrap();
    assert!(!path.join("refs/heads/main.lock").exists());

    fs::write(path.join("refs/heads/main.lock"), "").unwrap();
    let refused = replace("3").await.unwrap_err();
    assert!(refused.to_string().contains("refs/heads/main"), "{refused}");
    fs::remove_file(path.join("refs/heads/main.lock")).unwrap();
    replace("3").await.unwrap();

    for (name, hours) in [("tmp_object_git2_old", 2), ("tmp_object_git2_new", 0)] {
        let draft = fs::File::create(path.join("objects").join(name)).unwrap();
        draft.set_modified(SystemTime::now() - Duration::from_hours(hours)).unwrap();
    }
    GitDefinitions::open(&path).unwrap();
    assert!(!path.join("objects/tmp_object_git2_old").exists());
    assert!(path.join("objects/tmp_object_git2_new").exists());
}

/// The child of the next test: commits and says each revision that has been acknowledged.
#[test]
#[ignore = "runs as a child process"]
fn child_commits_until_it_is_killed() {
    let Some(path) = support::child_path() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let store = GitDefinitions::open(&path).unwrap();
        let start = std::process::id();
        for number in 0_u64.. {
            let content = format!("{start}/{number}");
            let files = files([("app.yaml", &content), ("prompts/p.yml", "always the same")]);
            let revision = store.replace(&app("a"), files, Expected::Any, &author(), &content).await.unwrap();
            support::acknowledge(&revision.0);
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost_when_the_host_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("definitions.git");
    let mut acknowledged = BTreeSet::new();
    for round in 0..support::kills() {
        acknowledged.extend(support::acknowledged_until_killed("child_commits_until_it_is_killed", &path, round));
        assert_sound(&path);
    }
    eprintln!("{} acknowledged commits over {} kills", acknowledged.len(), support::kills());
    let reachable = git(&path, &["rev-list", "--objects", "main"]);
    let reachable: BTreeSet<_> = reachable.lines().filter_map(|line| line.split(' ').next()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|revision| !reachable.contains(revision.as_str())).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}
