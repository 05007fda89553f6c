//! How a plugin is built, as its folder says.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use tokio::process::Command;

use crate::cli::failure::Failure;

/// A folder with what builds it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Project {
    dir: PathBuf,
    build: Build,
}

#[derive(Debug, PartialEq, Eq)]
enum Build {
    /// It says itself what it has made.
    Cargo,
    /// A command, and where the component is afterwards.
    Command { words: Vec<String>, component: Component },
}

#[derive(Debug, PartialEq, Eq)]
enum Component {
    /// The only one in `dist`.
    InDist,
    At(PathBuf),
}

impl Project {
    pub(super) fn of(dir: &Path, build: Option<&str>, component: Option<&Path>) -> Result<Self, Failure> {
        let has = |file: &str| dir.join(file).is_file();
        let build = match (build, component) {
            (Some(command), Some(file)) => {
                Build::Command { words: words(&["sh", "-c", command]), component: Component::At(dir.join(file)) }
            }
            _ if has("Cargo.toml") => Build::Cargo,
            _ if has("package.json") => {
                Build::Command { words: words(&["npm", "run", "--silent", "build"]), component: Component::InDist }
            }
            _ if has("build.sh") => Build::Command { words: words(&["sh", "build.sh"]), component: Component::InDist },
            _ => {
                let message = format!("nothing says how `{}` is built", dir.display());
                let help = "it has no Cargo.toml, package.json or build.sh: say it with --build and --component";
                return Err(Failure::usage(message, help));
            }
        };
        Ok(Self { dir: dir.to_owned(), build })
    }

    /// Where the component will be, if that was said.
    pub(super) fn component(&self) -> Option<&Path> {
        match &self.build {
            Build::Command { component: Component::At(file), .. } => Some(file),
            _ => None,
        }
    }

    /// Builds it and says where the component is. What the compiler says goes to standard error.
    pub(super) async fn build(&self) -> Result<PathBuf, Failure> {
        match &self.build {
            Build::Cargo => {
                let said = self.run(&words(&CARGO), Stdio::piped()).await?;
                let made = said.lines().rev().find_map(|line| made(line, &self.dir));
                made.ok_or_else(|| {
                    Failure::usage(
                        format!("`{}` builds no component", self.dir.join("Cargo.toml").display()),
                        "a plugin is a library: crate-type = [\"cdylib\"] below [lib]",
                    )
                })
            }
            Build::Command { words, component } => {
                self.run(words, io::stderr().into()).await?;
                match component {
                    Component::At(file) => Ok(file.clone()),
                    Component::InDist => only(&self.dir.join("dist")),
                }
            }
        }
    }

    /// Runs a command in the folder; what it writes to standard output, if that is asked for.
    async fn run(&self, words: &[String], stdout: Stdio) -> Result<String, Failure> {
        let spelled = words.join(" ");
        let mut command = Command::new(words.first().map_or("", String::as_str));
        command.args(words.get(1..).unwrap_or_default()).current_dir(&self.dir).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::inherit());
        let started = command.spawn().map_err(|error| {
            Failure::usage(format!("`{spelled}` cannot be started: {error}"), "install it, or say how with --build")
        })?;
        let ended = started.wait_with_output().await;
        let ended = ended.map_err(|error| Failure::usage(format!("`{spelled}` was lost: {error}"), ""))?;
        if !ended.status.success() {
            return Err(Failure::usage(format!("`{spelled}` failed ({})", ended.status), ""));
        }
        Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
    }
}

const CARGO: [&str; 6] =
    ["cargo", "build", "--release", "--target", "wasm32-wasip2", "--message-format=json-render-diagnostics"];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// A line of what cargo says for programs.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// The component that cargo says it has made of the package in this folder.
fn made(line: &str, dir: &Path) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let own = message.reason == "compiler-artifact" && message.manifest_path? == dir.join("Cargo.toml");
    let mut files = message.filenames.into_iter().filter(|file| file.extension().is_some_and(|end| end == "wasm"));
    files.next().filter(|_| own)
}

/// The only component in a folder.
fn only(dist: &Path) -> Result<PathBuf, Failure> {
    let unreadable = |source| Failure::Unreadable { path: dist.to_owned(), source };
    let mut found = None;
    for entry in fs::read_dir(dist).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|end| end == "wasm") && found.replace(path).is_some() {
            let message = format!("`{}` holds more than one component", dist.display());
            return Err(Failure::usage(message, "say which with --build and --component"));
        }
    }
    let message = || format!("`{}` holds no component after it was built", dist.display());
    found.ok_or_else(|| Failure::usage(message(), "say where it is with --build and --component"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_says_how_it_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert!(Project::of(dir, None, None).is_err());
        let given = Project::of(dir, Some("make"), Some(Path::new("a.wasm"))).unwrap();
        let command = ["sh", "-c", "make"].map(str::to_owned).to_vec();
        let component = Component::At(dir.join("a.wasm"));
        assert_eq!(given.build, Build::Command { words: command, component });
        fs::write(dir.join("build.sh"), "").unwrap();
        assert!(matches!(Project::of(dir, None, None).unwrap().build, Build::Command { .. }));
        fs::write(dir.join("Cargo.toml"), "").unwrap();
        assert_eq!(Project::of(dir, None, None).unwrap().build, Build::Cargo);
    }

    #[test]
    fn cargo_says_what_it_has_made() {
        let line = |manifest: &str, file: &str| {
            format!(r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","filenames":["/t/{file}"],"x":1}}"#)
        };
        let dir = Path::new("/p");
        assert_eq!(made(&line("/p/Cargo.toml", "orders.wasm"), dir), Some("/t/orders.wasm".into()));
        assert_eq!(made(&line("/q/Cargo.toml", "orders.wasm"), dir), None);
        assert_eq!(made(&line("/p/Cargo.toml", "liborders.rlib"), dir), None);
        assert_eq!(made(r#"{"reason":"build-finished","success":true}"#, dir), None);
        assert_eq!(made("text", dir), None);
    }

    #[test]
    fn one_component_is_in_dist() {
        let folder = tempfile::tempdir().unwrap();
        let dist = folder.path();
        assert!(only(&dist.join("nothing")).is_err());
        fs::write(dist.join("a.map"), "").unwrap();
        assert!(only(dist).is_err());
        fs::write(dist.join("a.wasm"), "").unwrap();
        assert_eq!(only(dist).unwrap(), dist.join("a.wasm"));
        fs::write(dist.join("b.wasm"), "").unwrap();
        assert!(only(dist).is_err());
    }

    #[tokio::test]
    async fn a_build_that_fails_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let project = |command: &str| Project::of(folder.path(), Some(command), Some(Path::new("a.wasm"))).unwrap();
        assert_eq!(project("echo x > a.wasm").build().await.unwrap(), folder.path().join("a.wasm"));
        let failure = project("exit 3").build().await.unwrap_err().to_string();
        assert!(failure.contains("exit status: 3"), "{failure}");
    }
}
