//! The commands that change applications and what they remember, as people type them, on a running server.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{
    program::{Served, run, text},
    support::{ShoutingEndpoint, write_app},
};

/// A server, and somebody who types commands in the folder that it runs in.
struct Desk<'d> {
    dir: &'d Path,
    served: Served,
}

impl Desk<'_> {
    /// What the program does with these arguments: its exit code, standard output and standard error.
    fn type_in(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = run(self.dir, &[arguments, &["--url", &self.served.url, "--data-dir", "data"]].concat());
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// What it writes, where it has done what it was asked.
    fn done(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.type_in(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{error}");
        out
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// The code of the problem with which the server refuses.
    fn refused(&self, arguments: &[&str]) -> String {
        let (code, out, _) = self.type_in(&[arguments, &["--json"]].concat());
        assert_eq!(code, 1, "{arguments:?}: {out}");
        serde_json::from_str::<Value>(&out).unwrap()["code"].as_str().unwrap().to_owned()
    }

    fn revision(&self, app: &str) -> String {
        self.json(&["apps", "show", app])["revision"].as_str().unwrap().to_owned()
    }
}

/// Starts a server on `echo-desk` and lets `work` type commands.
async fn at_a_desk(more: fn(&Path) -> Vec<String>, work: fn(&Desk<'_>)) {
    let endpoint = ShoutingEndpoint::start().await;
    let url = endpoint.url.clone();
    let work = move || {
        let dir = tempfile::tempdir().unwrap();
        write_app(&dir.path().join("apps"));
        let more = more(dir.path());
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let served = Served::start_with(dir.path(), &url, &more, Stdio::null());
        let desk = Desk { dir: dir.path(), served };
        work(&desk);
        assert!(desk.served.terminate().success());
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

fn nothing_more(_: &Path) -> Vec<String> {
    Vec::new()
}

/// All files below a folder, by their paths in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    nexus_state::folder::read_app(folder)
        .unwrap()
        .into_iter()
        .map(|(path, bytes)| (path.into(), bytes.to_vec()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_goes_out_and_in_again_byte_for_byte() {
    at_a_desk(nothing_more, |desk| {
        let out = desk.done(&["apps", "export", "echo-desk", "out"]);
        assert!(out.starts_with("echo-desk, revision ") && out.ends_with("4 files in out\n"), "{out}");
        assert_eq!(files(&desk.dir.join("out")), files(&desk.dir.join("apps/echo-desk")));
        let (code, _, error) = desk.type_in(&["apps", "export", "echo-desk", "out"]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("`out` is not empty"), "{error}");

        fs::rename(desk.dir.join("out"), desk.dir.join("loud-desk")).unwrap();
        let manifest = desk.dir.join("loud-desk/app.yaml");
        let yaml = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, yaml.replace("echo-desk", "loud-desk")).unwrap();
        let written = desk.done(&["apps", "import", "loud-desk", "--message", "A second one"]);
        assert!(written.starts_with("loud-desk written, revision "), "{written}");
        let again = desk.done(&["apps", "import", "loud-desk"]);
        assert!(again.starts_with("loud-desk unchanged, revision "), "{again}");
        let answer = desk.json(&["call", "loud-desk", "shout", "--input", r#"{"text":"in"}"#]);
        assert_eq!(answer["output"], json!({ "shout": "IN" }));
        assert!(desk.done(&["apps", "list"]).contains("loud-desk  active"));

        fs::write(&manifest, yaml.replace("echo-desk", "loud-desk").replace("Says it", "Says this")).unwrap();
        let other = "0".repeat(40);
        assert_eq!(desk.refused(&["apps", "import", "loud-desk", "--revision", &other]), "precondition_failed");
        fs::write(&manifest, yaml.replace("descri", "desk-")).unwrap();
        assert_eq!(desk.refused(&["apps", "import", "loud-desk"]), "definition_faults");
        fs::write(&manifest, yaml.replace("echo-desk", "from-template")).unwrap();
        fs::rename(desk.dir.join("loud-desk"), desk.dir.join("from-template")).unwrap();
        let checked = run(desk.dir, &["check", "from-template"]);
        assert_eq!(checked.status.code(), Some(1));
        assert!(text(&checked.stderr).contains("the name `from-template` is reserved"), "{checked:?}");

        let revision = desk.revision("loud-desk");
        let removed = desk.json(&["apps", "delete", "loud-desk", "--revision", &revision]);
        assert_eq!(removed, json!({ "app": "loud-desk", "changed": true }));
        assert_eq!(desk.refused(&["apps", "delete", "loud-desk"]), "unknown_app");
        assert_eq!(desk.refused(&["apps", "show", "loud-desk"]), "unknown_app");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_is_seen_compared_and_restored() {
    at_a_desk(nothing_more, |desk| {
        let first = desk.revision("echo-desk");
        desk.done(&["apps", "export", "echo-desk", "echo-desk"]);
        let prompt = desk.dir.join("echo-desk/prompts/shout.prompt.yml");
        let yaml = fs::read_to_string(&prompt).unwrap().replace("Say it louder.", "Say it as loud as you can.");
        fs::write(&prompt, yaml).unwrap();
        desk.done(&["apps", "import", "echo-desk", "--revision", &first, "--message", "Louder still"]);
        let second = desk.revision("echo-desk");

        let table = desk.done(&["apps", "history", "echo-desk"]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("AT ") && lines[1].contains(&second) && lines[2].contains(&first), "{table}");
        assert!(lines[1].contains("first admin ") && lines[1].ends_with("Louder still"), "{table}");
        let page = desk.json(&["apps", "history", "echo-desk", "--limit", "1"]);
        assert_eq!(page["changes"][0]["revision"], json!(second));
        let older = desk.json(&["apps", "history", "echo-desk", "--before", page["next"].as_str().unwrap()]);
        assert_eq!(older["changes"][0]["revision"], json!(first));

        let diff = desk.done(&["apps", "diff", "echo-desk", &first]);
        assert!(diff.contains("-  - { role: system, content: Say it louder. }"), "{diff}");
        assert!(diff.contains("+  - { role: system, content: Say it as loud as you can. }"), "{diff}");
        let none = desk.json(&["apps", "diff", "echo-desk", &second, &second]);
        assert_eq!(none["files"], json!([]));
        let old = desk.json(&["apps", "export", "echo-desk", "old", "--revision", &first]);
        assert_eq!((&old["revision"], &old["files"]), (&json!(first), &json!(4)));
        assert_eq!(files(&desk.dir.join("old")), files(&desk.dir.join("apps/echo-desk")));

        assert_eq!(
            desk.refused(&["apps", "restore", "echo-desk", "--to", &first, "--revision", &first]),
            "precondition_failed"
        );
        let restored = desk.done(&["apps", "restore", "echo-desk", "--to", &first]);
        assert_eq!(restored, format!("echo-desk restored, revision {first}\n"));
        assert_eq!(desk.revision("echo-desk"), first);
        assert_eq!(desk.json(&["apps", "history", "echo-desk"])["changes"].as_array().unwrap().len(), 3);
        assert_eq!(desk.refused(&["apps", "restore", "echo-desk", "--to", &"0".repeat(40)]), "unknown_revision");

        desk.done(&["apps", "delete", "echo-desk"]);
        desk.done(&["apps", "restore", "echo-desk", "--to", &second]);
        assert_eq!(desk.revision("echo-desk"), second, "what was removed is brought back");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_taken_out_of_service_and_put_back() {
    at_a_desk(nothing_more, |desk| {
        let off = desk.done(&["apps", "deactivate", "echo-desk", "--reason", "moves to another host"]);
        assert!(off.starts_with("echo-desk is inactive") && off.contains("moves to another host"), "{off}");
        let call = ["call", "echo-desk", "shout", "--input", r#"{"text":"hi"}"#];
        assert_eq!(desk.refused(&call), "app_inactive");
        assert!(desk.done(&["apps", "show", "echo-desk"]).contains("inactive"));
        assert_eq!(desk.done(&["apps", "activate", "echo-desk"]), "echo-desk is active\n");
        assert_eq!(desk.json(&call)["output"], json!({ "shout": "HI" }));
        assert_eq!(desk.refused(&["apps", "deactivate", "nobody"]), "unknown_app");

        let budget = desk.json(&["apps", "budget", "echo-desk"]);
        assert!(budget.is_object(), "{budget}");
        assert!(!desk.done(&["apps", "budget", "echo-desk"]).is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_becomes_an_application_of_a_running_server() {
    at_a_desk(nothing_more, |desk| {
        let listed = run(desk.dir, &["templates"]);
        assert!(text(&listed.stdout).contains("classify"), "{listed:?}");
        let shown = run(desk.dir, &["templates", "classify"]);
        assert!(text(&shown.stdout).contains("PARAMETER"), "{shown:?}");
        let wrong = run(desk.dir, &["templates", "clasify"]);
        assert_eq!(wrong.status.code(), Some(2));
        assert!(text(&wrong.stderr).contains("did you mean `classify`?"), "{wrong:?}");

        let new = run(desk.dir, &["new", "classify", "--set", "name=support", "--set", "model=loud"]);
        assert_eq!(new.status.code(), Some(0), "{new:?}");
        assert!(text(&new.stderr).contains("nexus apps import support"), "{new:?}");
        let again = run(desk.dir, &["new", "classify", "--set", "name=support"]);
        assert_eq!(again.status.code(), Some(2), "what is there is not written over: {again:?}");
        let odd = run(desk.dir, &["new", "classify", "--set", "labels=[]", "--dir", "odd"]);
        assert_eq!(odd.status.code(), Some(2), "{odd:?}");
        let reserved = run(desk.dir, &["new", "classify", "--set", "name=from-template"]);
        assert_eq!(reserved.status.code(), Some(1), "{reserved:?}");
        assert!(!desk.dir.join("from-template").exists());

        desk.done(&["apps", "import", "support"]);
        assert_eq!(desk.json(&["apps", "show", "support"])["status"], "active");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_is_written_read_and_searched() {
    at_a_desk(nothing_more, |desk| {
        fs::write(desk.dir.join("brief.md"), "Shouts for a living.\n").unwrap();
        desk.done(&["memory", "write", "echo-desk", "brief", "--text", "@brief.md"]);
        desk.done(&["memory", "append", "echo-desk", "context", "--text", "Closed on 24 December."]);
        desk.done(&["memory", "append", "echo-desk", "context", "--text", "Open again on 27 December."]);
        desk.done(&[
            "memory",
            "write",
            "echo-desk",
            "knowledge/returns",
            "--text",
            "Goods can be returned within a month.",
        ]);
        let table = desk.done(&["memory", "list", "echo-desk"]);
        assert!(["brief", "context", "knowledge/returns"].iter().all(|name| table.contains(name)), "{table}");
        assert_eq!(desk.done(&["memory", "read", "echo-desk", "brief"]), "Shouts for a living.\n");
        let context = desk.json(&["memory", "read", "echo-desk", "context"])["text"].as_str().unwrap().to_owned();
        assert!(context.starts_with("Closed on 24 December.\nOpen again"), "{context}");
        let found = desk.json(&["memory", "search", "echo-desk", "returning", "goods"]);
        assert_eq!(found["hits"][0]["document"], "knowledge/returns", "{found}");
        desk.done(&["memory", "remove", "echo-desk", "brief"]);
        assert_eq!(desk.refused(&["memory", "read", "echo-desk", "brief"]), "unknown_document");

        let told = desk.json(&["audit", "list", "--action", "memory."]);
        let actions: Vec<&str> =
            told["records"].as_array().unwrap().iter().map(|record| record["action"].as_str().unwrap()).collect();
        assert_eq!(
            actions,
            ["memory.remove", "memory.write", "memory.append", "memory.append", "memory.write"],
            "every change is in the audit log"
        );
        assert!(desk.done(&["audit", "verify"]).ends_with("as they were written\n"));
    })
    .await;
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    nexus_tests::git(dir, arguments).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_go_to_the_remote_and_come_from_it() {
    fn with_a_remote(dir: &Path) -> Vec<String> {
        git(dir, &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        let url = dir.join("remote.git").display().to_string();
        vec!["--set".to_owned(), format!("definitions.remote={{ url: \"{url}\" }}")]
    }
    at_a_desk(with_a_remote, |desk| {
        let pushed = desk.done(&["apps", "push"]);
        let head = git(desk.dir, &["-C", "remote.git", "rev-parse", "main"]);
        assert_eq!(pushed, format!("moved, now at {head}\n"));
        assert_eq!(desk.json(&["apps", "push"]), json!({ "head": head, "moved": false }));
        assert_eq!(desk.json(&["apps", "fetch"])["moved"], json!(false));

        git(desk.dir, &["clone", "-q", "remote.git", "clone"]);
        let prompt = desk.dir.join("clone/echo-desk/prompts/shout.prompt.yml");
        fs::write(&prompt, fs::read_to_string(&prompt).unwrap().replace("louder", "much louder")).unwrap();
        git(&desk.dir.join("clone"), &["commit", "-q", "-a", "-m", "Much louder"]);
        git(&desk.dir.join("clone"), &["push", "-q"]);
        let tree = git(desk.dir, &["-C", "clone", "rev-parse", "HEAD:echo-desk"]);
        assert_eq!(desk.refused(&["apps", "push"]), "diverged", "the remote has what this host lacks");
        assert!(desk.done(&["apps", "fetch"]).starts_with("moved, now at "));
        assert_eq!(desk.revision("echo-desk"), tree, "what was fetched serves");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_remote_nothing_is_moved() {
    at_a_desk(nothing_more, |desk| {
        assert_eq!(desk.refused(&["apps", "push"]), "no_remote");
        assert_eq!(desk.refused(&["apps", "fetch"]), "no_remote");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_ordered_by_hand_and_refused() {
    at_a_desk(nothing_more, |desk| {
        assert_eq!(desk.refused(&["jit", "promote", "echo-desk", "shout"]), "nothing_to_promote");
        assert_eq!(desk.refused(&["jit", "compile", "echo-desk", "shuot"]), "unknown_operation");
        // Too few inputs are known, and by hand only the rules of when are passed over.
        let refused = desk.json(&["jit", "compile", "echo-desk", "shout"]);
        assert_eq!(refused["state"], "refused", "{refused}");
        let table = desk.done(&["jit", "status", "echo-desk", "shout"]);
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[..2], ["shout", "refused"], "{table}");
    })
    .await;
}
