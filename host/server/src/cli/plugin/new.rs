//! `nexus plugin new`: a folder that a plugin is made of, in one of three languages.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use nexus_model::PluginName;
use serde_json::json;

use super::super::{
    args::{Language, NewPlugin},
    failure::Failure,
    output::Output,
};

/// A file of a template: its path, and what is in it.
type File = (&'static str, &'static str);

macro_rules! template {
    ($language:literal: $($path:literal $(as $name:literal)?),+ $(,)?) => {
        &[
            ("wit/plugin.wit", include_str!("../../../../../plugins/templates/wit/plugin.wit")),
            $((
                template!(@name $path $($name)?),
                include_str!(concat!("../../../../../plugins/templates/", $language, "/", $path)),
            )),+
        ]
    };
    (@name $path:literal) => { $path };
    (@name $path:literal $name:literal) => { $name };
}

const RUST: &[File] = template!("rust": "Cargo.toml", "README.md", "gitignore" as ".gitignore", "src/lib.rs");
const JS: &[File] = template!("js": "README.md", "build.js", "gitignore" as ".gitignore", "package.json", "plugin.js", "plugin.test.js");
const PYTHON: &[File] = template!(
    "python": "README.md", "app.py", "build.sh", "gitignore" as ".gitignore", "requirements.txt", "test_words.py", "words.py"
);

/// Names that a crate cannot have: it could not name what it is made of.
const TAKEN: [&str; 6] = ["alloc", "core", "proc-macro", "std", "test", "wit-bindgen"];

fn files(language: Language) -> &'static [File] {
    match language {
        Language::Rust => RUST,
        Language::Js => JS,
        Language::Python => PYTHON,
    }
}

pub(super) fn run(new: &NewPlugin, output: Output) -> Result<(), Failure> {
    if new.lang == Language::Rust && TAKEN.contains(&new.name.as_str()) {
        return Err(Failure::usage(format!("a crate cannot have the name `{}`", new.name), "name it otherwise"));
    }
    let dir = new.dir.clone().unwrap_or_else(|| new.name.as_str().into());
    let files = files(new.lang);
    write(&dir, files, &new.name)?;
    if output.json {
        let paths: Vec<_> = files.iter().map(|(path, _)| path).collect();
        output.value(&json!({ "plugin": new.name, "dir": dir, "files": paths }));
        return Ok(());
    }
    output.line(&format!("{}: {} files in {}", new.name, files.len(), dir.display()));
    output.note(&format!("next: {} says how to build it and try it", dir.join("README.md").display()));
    Ok(())
}

/// Writes all files or nothing: into a folder beside it, which then gets the name.
fn write(dir: &Path, files: &[File], name: &PluginName) -> Result<(), Failure> {
    if fs::symlink_metadata(dir).is_ok() {
        return Err(Failure::usage(format!("`{}` is there already", dir.display()), "name a new folder with --dir"));
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Failure::Unwritable { path, source }
    };
    let fresh = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .permissions(fs::Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(unwritable(parent))?;
    for (path, text) in files {
        let file = fresh.path().join(path);
        let text = text.replace("plugin-name", name.as_str()).replace("plugin_name", &name.as_str().replace('-', "_"));
        file.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&file, text))
            .map_err(unwritable(&file))?;
    }
    fs::rename(fresh.path(), dir).map_err(unwritable(dir))?;
    // It is not there any more under the name that would be removed.
    let _ = fresh.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn written(language: Language) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("there");
        write(&dir, files(language), &"two-words".parse().unwrap()).unwrap();
        (folder, dir)
    }

    fn entries(folder: &Path) -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_folder_has_all_files_under_the_name() {
        for language in [Language::Rust, Language::Js, Language::Python] {
            let (folder, dir) = written(language);
            assert_eq!(entries(folder.path()), std::slice::from_ref(&dir), "{language:?}: nothing is left beside it");
            for (path, _) in files(language) {
                let text = fs::read_to_string(dir.join(path)).unwrap();
                assert!(!text.contains("plugin-name") && !text.contains("plugin_name"), "{path}: {text}");
            }
            assert!(fs::read_to_string(dir.join("README.md")).unwrap().contains("# two-words"));
            let mode = fs::metadata(&dir).unwrap().permissions().mode();
            assert_eq!(mode & 0o700, 0o700);
            assert_eq!(mode, fs::metadata(dir.join("wit")).unwrap().permissions().mode(), "as any other folder");
        }
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let (folder, dir) = written(Language::Rust);
        fs::write(dir.join("README.md"), "mine").unwrap();
        let again = write(&dir, JS, &"other".parse().unwrap());
        assert!(matches!(again, Err(Failure::Usage { .. })), "{again:?}");
        assert_eq!(fs::read_to_string(dir.join("README.md")).unwrap(), "mine");
        assert!(!dir.join("package.json").exists());
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(write(&dangling, JS, &"other".parse().unwrap()).is_err());
        assert_eq!(entries(folder.path()).len(), 2);
    }

    #[test]
    fn nothing_is_written_by_halves() {
        let folder = tempfile::tempdir().unwrap();
        let faulty: &[File] = &[("a", "first"), ("a/b", "in a file")];
        assert!(matches!(
            write(&folder.path().join("there"), faulty, &"other".parse().unwrap()),
            Err(Failure::Unwritable { .. })
        ));
        assert_eq!(entries(folder.path()), Vec::<PathBuf>::new());
        assert!(write(&folder.path().join("no/such/there"), JS, &"other".parse().unwrap()).is_err());
    }

    #[test]
    fn the_program_has_every_file_of_the_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/templates");
        for (folder, files) in [("rust", RUST), ("js", JS), ("python", PYTHON)] {
            let mut there = Vec::new();
            collect(&root.join(folder), &root.join(folder), &mut there);
            let mut known: Vec<_> = files.iter().map(|(path, _)| path.trim_start_matches('.').to_owned()).collect();
            known.retain(|path| path != "wit/plugin.wit");
            there.sort();
            known.sort();
            assert_eq!(there, known, "{folder}");
        }
    }

    fn collect(root: &Path, folder: &Path, into: &mut Vec<String>) {
        for path in entries(folder) {
            if path.is_dir() {
                collect(root, &path, into);
            } else {
                into.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
}
