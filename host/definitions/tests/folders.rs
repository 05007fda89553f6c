//! Folders that load, folders that do not and what is said about them, and every application in the repository.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use nexus_definitions::{Fault, FaultCode, Surroundings, load, load_with};
use nexus_model::FileTree;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn read(folder: &Path) -> FileTree {
    fn add(root: &Path, folder: &Path, files: &mut FileTree) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(root, &path, files);
            } else if path.file_name().unwrap() != "expected.txt" {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.insert(name, Arc::from(fs::read(&path).unwrap()));
            }
        }
    }
    let mut files = FileTree::new();
    add(folder, folder, &mut files);
    files
}

fn told(faults: &[Fault]) -> String {
    faults.iter().fold(String::new(), |mut text, fault| {
        writeln!(text, "{} {fault}", fault.code).unwrap();
        text
    })
}

#[test]
fn valid_folders_load() {
    for folder in folders(&folder("valid")) {
        if let Err(faults) = load(&read(&folder)) {
            panic!("{}:\n{}", folder.display(), told(&faults));
        }
    }
}

#[test]
fn invalid_folders_tell_all_their_faults() {
    let models = ["small".to_owned(), "large".to_owned()];
    let apps = ["crm", "order-desk", "sample"].map(|name| name.parse().unwrap());
    let mut wrong = String::new();
    for folder in folders(&folder("invalid")) {
        let surroundings = Surroundings { folder: None, models: Some(&models), apps: Some(&apps) };
        let faults = load_with(&read(&folder), surroundings).expect_err("an invalid folder");
        let expected = fs::read_to_string(folder.join("expected.txt")).unwrap_or_default();
        if told(&faults) != expected {
            write!(wrong, "--- {}\n{}", folder.file_name().unwrap().display(), told(&faults)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "these differ from their expected.txt:\n{wrong}");
}

#[test]
fn the_applications_of_this_repository_load() {
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps");
    for folder in folders(&apps).into_iter().filter(|folder| folder.join("app.yaml").exists()) {
        let Err(faults) = load(&read(&folder)) else { continue };
        // A component is built, not committed; it may not be there yet.
        let rest: Vec<Fault> = faults
            .into_iter()
            .filter(|fault| !(fault.code == FaultCode::MissingFile && fault.path.ends_with("/component")))
            .collect();
        assert!(rest.is_empty(), "{}:\n{}", folder.display(), told(&rest));
    }
}
