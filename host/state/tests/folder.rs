//! Applications read from plain folders.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use nexus_state::folder::{FolderError, read_app, read_apps};

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn folders_with_a_manifest_are_applications() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("desk/app.yaml"), "desk");
    write(&dir.path().join("desk/prompts/a/b.yml"), "b");
    write(&dir.path().join("desk/.git/config"), "hidden");
    write(&dir.path().join("desk/.env"), "hidden");
    write(&dir.path().join("docs/readme.md"), "no application");
    write(&dir.path().join("README.md"), "no folder");
    let apps = read_apps(dir.path()).unwrap();
    assert_eq!(apps.len(), 1);
    let files: Vec<_> = apps[&"desk".parse().unwrap()].keys().map(String::as_str).collect();
    assert_eq!(files, ["app.yaml", "prompts/a/b.yml"]);

    let one = read_apps(&dir.path().join("desk")).unwrap();
    assert_eq!(one, apps, "the folder itself may be the application");
    assert!(matches!(read_apps(&dir.path().join("nothing")), Err(FolderError::Io { .. })));
}

#[test]
fn a_bad_name_is_told_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("My_App/app.yaml"), "x");
    let error = read_apps(dir.path()).unwrap_err();
    assert!(matches!(error, FolderError::Name { .. }) && error.to_string().contains("My_App"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_stay_inside() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let desk = dir.path().join("desk");
    write(&desk.join("app.yaml"), "desk");
    write(&desk.join("shared/a.yml"), "a");
    symlink("shared/a.yml", desk.join("inside.yml")).unwrap();
    assert_eq!(&*read_app(&desk).unwrap()["inside.yml"], b"a");

    symlink("/etc/hostname", desk.join("outside.yml")).unwrap();
    let error = read_app(&desk).unwrap_err();
    assert!(matches!(error, FolderError::Refused { .. }) && error.to_string().contains("outside.yml"), "{error}");
    fs::remove_file(desk.join("outside.yml")).unwrap();

    symlink("..", desk.join("shared/loop")).unwrap();
    assert!(matches!(read_app(&desk), Err(FolderError::Refused { .. })), "a folder within itself");
}

#[test]
fn sizes_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let desk = dir.path().join("desk");
    write(&desk.join("app.yaml"), "desk");
    fs::File::create(desk.join("large.bin")).unwrap().set_len((32 << 20) + 1).unwrap();
    let error = read_app(&desk).unwrap_err();
    assert!(error.to_string().contains("large.bin"), "{error}");
    fs::remove_file(desk.join("large.bin")).unwrap();
    for number in 0..2_000 {
        write(&desk.join(format!("f{number}")), "");
    }
    assert!(matches!(read_app(&desk), Err(FolderError::Refused { .. })), "2,001 files");
}
