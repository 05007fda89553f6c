//! What the program does for authors of plugins.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    plugins::component,
    program::{Served, nexus, run, text},
    support::{ShoutingEndpoint, write_app},
};

/// Enough for whatever is meant to come, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const WIT: &str = "package a:sums;
world sums {
    /// Multiplies.
    export times: func(number: u32) -> u32;
    export stops: func();
    export spins: func();
}
";

/// `nexus plugin dev` while it runs.
struct Dev {
    child: Child,
    lines: Receiver<String>,
}

impl Dev {
    fn start(dir: &Path, url: &str) -> Self {
        let build = "mkdir -p out && cp source.wasm out/sums.wasm";
        let arguments =
            ["plugin", "dev", "sums", "--app", "echo-desk", "--build", build, "--component", "out/sums.wasm"];
        let mut command = nexus(dir, &[&arguments[..], &["--url", url, "--data-dir", "data"]].concat());
        let stderr = fs::File::create(dir.join("dev.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let (sender, lines) = sync_channel(100);
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    fn interrupt(mut self) -> std::process::ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a file says this.
fn says(file: &Path, words: &str) {
    let begun = Instant::now();
    while !fs::read_to_string(file).unwrap().contains(words) {
        assert!(begun.elapsed() < PATIENCE, "{words}: {}", fs::read_to_string(file).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `sums.times` makes of 4.
fn times(dir: &Path, url: &str) -> String {
    let call = ["plugin", "run", "sums.times", "--app", "echo-desk", "--args", "{\"number\": 4}"];
    let output = run(dir, &[&call[..], &["--url", url, "--data-dir", "data"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_taken_over_on_every_change() {
    let endpoint = ShoutingEndpoint::start().await;
    let models = endpoint.url.clone();
    let work = move || {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        write_app(&dir.join("apps"));
        let served = Served::start_with(dir, &models, &[], Stdio::null());
        fs::create_dir_all(dir.join("sums/wit")).unwrap();
        fs::write(dir.join("sums/wit/sums.wit"), WIT).unwrap();
        let source = dir.join("sums/source.wasm");
        fs::write(&source, component(2, "")).unwrap();

        let dev = Dev::start(dir, &served.url);
        assert!(dev.line().starts_with("echo-desk/sums added, revision "));
        assert_eq!(times(dir, &served.url), "8");
        let inspect = ["plugin", "inspect", "sums", "--app", "echo-desk", "--url", &served.url, "--data-dir", "data"];
        let shown = run(dir, &inspect);
        assert!(text(&shown.stdout).contains("Multiplies."), "{}", text(&shown.stdout));

        fs::write(&source, component(3, "")).unwrap();
        assert!(dev.line().starts_with("echo-desk/sums updated, revision "));
        assert_eq!(times(dir, &served.url), "12");

        fs::remove_file(&source).unwrap();
        says(&dir.join("dev.log"), "failed (exit status: 1)\nthe next change builds it again");
        fs::write(&source, "no component").unwrap();
        says(&dir.join("dev.log"), "it is no WebAssembly component");
        assert_eq!(times(dir, &served.url), "12", "what was there goes on");

        fs::write(&source, component(5, "")).unwrap();
        assert!(dev.line().starts_with("echo-desk/sums updated, revision "));
        assert_eq!(times(dir, &served.url), "20");
        assert!(dev.interrupt().success());
        assert!(served.terminate().success());
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[test]
fn a_plugin_begins_from_a_template() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let new = run(dir, &["plugin", "new", "two-words", "--lang", "js", "--json"]);
    let said: Value = serde_json::from_slice(&new.stdout).unwrap();
    assert_eq!((&said["plugin"], &said["dir"]), (&Value::from("two-words"), &Value::from("two-words")));
    for path in said["files"].as_array().unwrap() {
        assert!(dir.join("two-words").join(path.as_str().unwrap()).is_file(), "{path}");
    }
    let again = run(dir, &["plugin", "new", "two-words"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    let named = run(dir, &["plugin", "new", "Two_Words"]);
    assert_eq!(named.status.code(), Some(2), "{}", text(&named.stderr));
    let taken = run(dir, &["plugin", "new", "core"]);
    assert_eq!(taken.status.code(), Some(2), "{}", text(&taken.stderr));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
}
