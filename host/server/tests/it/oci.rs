//! Components from an OCI registry: a real one, open or with a login.

mod registry;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;

use self::registry::{Open, Registry};
use crate::{
    plugins::{LOGGING, component},
    program::{Served, nexus, text},
    support::{ShoutingEndpoint, write_app},
};

const WASM: &str = "application/wasm";

/// A server, a registry, and a folder where commands are typed.
struct Desk {
    dir: TempDir,
    served: Served,
    registry: Registry,
    _endpoint: ShoutingEndpoint,
}

/// The exit code of a command, and all it said.
type Said = (i32, String);

impl Desk {
    async fn start(open: Open) -> Self {
        let endpoint = ShoutingEndpoint::start().await;
        let dir = tempfile::tempdir().unwrap();
        write_app(&dir.path().join("apps"));
        let served = block_in_place(|| Served::start_with(dir.path(), &endpoint.url, &[], Stdio::null()));
        let registry = Registry::start(&dir.path().join("registry"), open).await;
        Self { dir, served, registry, _endpoint: endpoint }
    }

    fn typed(&self, command: &str, arguments: &[&str]) -> Said {
        self.typed_with(&[], command, arguments)
    }

    fn typed_with(&self, variables: &[(&str, &Path)], command: &str, arguments: &[&str]) -> Said {
        let place = ["--url", self.served.url.as_str(), "--data-dir", "data"];
        let words = [&["plugin", command][..], arguments, &place].concat();
        let output =
            block_in_place(|| nexus(self.dir.path(), &words).envs(variables.iter().copied()).output().unwrap());
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    }

    fn add(&self, tag: &str) -> Said {
        self.typed("add", &[&self.registry.reference(tag), "--app", "echo-desk"])
    }

    fn update(&self, tag: &str, more: &[&str]) -> Said {
        self.typed("update", &[&[&*self.registry.reference(tag), "--app", "echo-desk"], more].concat())
    }

    fn plugin(&self) -> Value {
        let words =
            ["inspect", "sums", "--app", "echo-desk", "--json", "--url", &self.served.url, "--data-dir", "data"];
        let output = block_in_place(|| nexus(self.dir.path(), &[&["plugin"], &words[..]].concat()).output().unwrap());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What the plugin's tool makes of 1.
    fn factor(&self) -> String {
        let (code, said) = self.typed("run", &["sums.times", "--app", "echo-desk", "--args", "{\"number\": 1}"]);
        assert_eq!(code, 0, "{said}");
        said.trim().to_owned()
    }

    fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let command = || Command::new("openssl").current_dir(self.dir.path()).args(arguments).output().unwrap();
        let output = block_in_place(command);
        assert!(output.status.success(), "{}", text(&output.stderr));
        output.stdout
    }

    /// Signs as cosign does with a pair of keys: puts a signature beside `digest` which says that `signed` is signed.
    async fn sign(&self, name: &str, signed: &str, digest: &str) {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": "" },
                "image": { "docker-manifest-digest": signed },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string();
        fs::write(self.dir.path().join("payload"), &payload).unwrap();
        let signature = self.openssl(&["dgst", "-sha256", "-sign", &format!("{name}.key"), "payload"]);
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        let mut layer = self.registry.push_blob(kind, payload.into()).await;
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": STANDARD.encode(signature) });
        self.registry.push_layers(&format!("{}.sig", digest.replace(':', "-")), &[layer]).await;
    }

    /// `app.yaml`, as Git has it.
    fn app_yaml(&self) -> String {
        let out = self.dir.path().join("out");
        let place = ["--url", self.served.url.as_str(), "--data-dir", "data"];
        let words = [&["apps", "export", "echo-desk", "out"][..], &place].concat();
        let output = block_in_place(|| nexus(self.dir.path(), &words).output().unwrap());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let yaml = fs::read_to_string(out.join("app.yaml")).unwrap();
        fs::remove_dir_all(out).unwrap();
        yaml
    }
}

#[track_caller]
fn done((code, said): Said, what: &str) {
    assert!(code == 0 && said.contains(what), "{code}: {said}");
}

#[track_caller]
fn refused((code, said): Said, expected: i32, whats: &[&str]) {
    // The report is broken into lines.
    let plain = said.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == expected && whats.iter().all(|what| plain.contains(what)), "{code}, {whats:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_pulled_and_pinned() {
    let desk = Desk::start(Open::ToAll).await;
    let digest = desk.registry.push("1.0", WASM, component(2, "")).await;
    let source = format!("{}@{digest}", desk.registry.reference("1.0"));
    done(desk.add("1.0"), "echo-desk/sums added");
    assert_eq!(desk.plugin()["source"], *source);
    assert!(desk.app_yaml().contains(&source), "{}", desk.app_yaml());
    assert_eq!(desk.factor(), "2");

    // The tag moves on; what was pinned stays what it was, whatever the tag beside it says.
    let newer = desk.registry.push("1.0", "application/vnd.wasm.content.layer.v1+wasm", component(3, "")).await;
    done(desk.update(&format!("1.0@{digest}"), &[]), "sums unchanged");
    done(desk.update("1.0", &[]), "updated");
    assert_eq!((desk.factor().as_str(), &desk.plugin()["source"]), ("3", &json!(source.replace(&digest, &newer))));
    done(desk.update(&digest, &[]), "updated");
    assert_eq!(desk.factor(), "2");

    // An index is pinned as a whole, and its manifest for `wasm` is taken.
    let index = desk.registry.push_index("2.0", &newer).await;
    done(desk.update("2.0", &[]), "updated");
    let source = format!("{}@{index}", desk.registry.reference("2.0"));
    assert_eq!((desk.factor().as_str(), &desk.plugin()["source"]), ("3", &json!(source)));

    // What it may use is changed without the registry, and where it came from stays.
    done(desk.typed("update", &["--app", "echo-desk", "--name", "sums", "--grant", "logging", "--yes"]), "updated");
    assert_eq!(desk.plugin()["source"], *source);
    // A file has no such origin.
    fs::write(desk.dir.path().join("sums.wasm"), component(4, "")).unwrap();
    done(desk.typed("update", &["sums.wasm", "--app", "echo-desk"]), "updated");
    assert!(desk.plugin().get("source").is_none() && !desk.app_yaml().contains(&index));
    assert!(desk.served.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_from_a_registry_is_granted_no_more_unseen() {
    let desk = Desk::start(Open::ToAll).await;
    desk.registry.push("1.0", WASM, component(2, "")).await;
    done(desk.add("1.0"), "added");
    desk.registry.push("1.1", WASM, component(3, LOGGING)).await;
    let reference = desk.registry.reference("1.1");
    done(desk.typed("grants", &[&reference]), "logging: true");
    done(desk.typed("inspect", &[&reference]), "times(number)");
    refused(desk.update("1.1", &[]), 1, &["logging: true"]);
    refused(desk.update("1.1", &["--grant", "logging"]), 1, &["+ logging: true", "+ import wasi:logging", "--yes"]);
    assert_eq!(desk.factor(), "2", "nothing was changed");
    done(desk.update("1.1", &["--grant", "logging", "--yes"]), "updated");
    assert_eq!(desk.factor(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_refused_with_its_reason() {
    let desk = Desk::start(Open::ToAll).await;
    let registry = &desk.registry;
    registry.push("text", "text/plain", b"hello".to_vec()).await;
    refused(desk.add("text"), 2, &["holds no component", "it has text/plain", "wkg oci push"]);
    let layer = registry.push_blob(WASM, component(2, "")).await;
    registry.push_layers("two", &[layer.clone(), layer.clone()]).await;
    refused(desk.add("two"), 2, &["it has application/wasm, application/wasm"]);
    registry.push("module", WASM, wat::parse_str("(module)").unwrap()).await;
    refused(desk.add("module"), 1, &["422 not_a_component"]);

    let with_size = |size: usize| {
        let mut layer = layer.clone();
        layer["size"] = size.into();
        [layer]
    };
    registry.push_layers("large", &with_size((32 << 20) + 1)).await;
    refused(desk.add("large"), 2, &["has 33554433 bytes, and at most 33554432 are taken"]);
    registry.push_layers("long", &with_size(10)).await;
    refused(desk.add("long"), 2, &["more bytes come than the 10 of its manifest"]);

    refused(desk.add("none"), 2, &["has no `", "/acme/sums:none`"]);
    let unknown = format!("sha256:{}", "0".repeat(64));
    refused(desk.add(&unknown), 2, &["has no `", &unknown]);
    refused(desk.typed("add", &["oci.example/Acme/Sums", "--app", "echo-desk"]), 2, &["in lower case"]);
    refused(desk.typed("add", &["sums.wasm", "--app", "echo-desk"]), 2, &["`sums.wasm` cannot be read"]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    refused(desk.typed("add", &[&format!("{gone}/sums"), "--app", "echo-desk"]), 2, &["cannot be reached"]);
    let list = desk.typed("list", &["--app", "echo-desk", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&list.1).unwrap()["plugins"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_in_the_registry_is_not_taken() {
    let desk = Desk::start(Open::ToAll).await;
    let first = component(2, "");
    let digest = desk.registry.push("1.0", WASM, first.clone()).await;
    done(desk.add("1.0"), "added");
    let layer = desk.registry.push_blob(WASM, first.clone()).await["digest"].as_str().unwrap().to_owned();
    let forged = component(9, "");
    assert_eq!(forged.len(), first.len());
    desk.registry.forge(&layer, &forged);
    refused(desk.update("1.0", &[]), 2, &["what has the digest", &layer, "nothing of it was used"]);
    desk.registry.forge(&layer, &first);
    done(desk.update("1.0", &[]), "unchanged");

    let other = desk.registry.push("2.0", WASM, forged).await;
    let stored = desk.registry.manifest(&other).await;
    desk.registry.forge(&digest, &stored);
    refused(desk.update(&digest, &[]), 2, &["sent for `"]);
    assert_eq!(desk.factor(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_to_sign_is_taken_only_signed() {
    let desk = Desk::start(Open::ToAll).await;
    let digest = desk.registry.push("1.0", WASM, component(2, "")).await;
    let other = desk.registry.push("1.1", WASM, component(3, "")).await;
    for name in ["acme", "mallory"] {
        desk.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &format!("{name}.key")]);
        desk.openssl(&["pkey", "-in", &format!("{name}.key"), "-pubout", "-out", &format!("{name}.pub")]);
    }
    let add = |tag: &str, key: &str| {
        desk.typed("add", &[&desk.registry.reference(tag), "--app", "echo-desk", "--signed-by", key])
    };
    refused(add("1.0", "acme.pub"), 2, &["is not signed with this key: it has no signature", &digest]);
    desk.sign("mallory", &digest, &digest).await;
    refused(add("1.0", "acme.pub"), 2, &["all are of others"]);
    desk.sign("acme", &other, &digest).await;
    refused(add("1.0", "acme.pub"), 2, &["all are of others"]);
    refused(add("1.0", "acme.key"), 2, &["no key to check signatures with"]);
    fs::write(desk.dir.path().join("sums.wasm"), component(4, "")).unwrap();
    refused(desk.typed("add", &["sums.wasm", "--app", "echo-desk", "--signed-by", "acme.pub"]), 2, &["--signed-by"]);
    desk.sign("acme", &digest, &digest).await;
    done(add("1.0", "acme.pub"), "added");
    assert_eq!(desk.factor(), "2");
    let signed_by = ["--signed-by", "acme.pub"];
    refused(desk.update("1.1", &signed_by), 2, &["it has no signature"]);
    desk.sign("acme", &other, &other).await;
    done(desk.update("1.1", &signed_by), "updated");
    assert_eq!(desk.factor(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_may_ask_who_comes() {
    let desk = Desk::start(Open::ToUser).await;
    desk.registry.push("1.0", WASM, component(2, "")).await;
    let folder = desk.dir.path().join("docker");
    fs::create_dir(&folder).unwrap();
    let add = ["add", &desk.registry.reference("1.0"), "--app", "echo-desk"];
    let as_user = |auth: &str| {
        let config = json!({ "auths": { &desk.registry.host: { "auth": auth } } });
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        desk.typed_with(&[("DOCKER_CONFIG", &folder)], add[0], &add[1..])
    };
    refused(desk.add("1.0"), 2, &["to everybody without a login", "docker login"]);
    refused(as_user("bWU6d3Jvbmc="), 2, &["to the login that is written down for it"]);
    let (code, said) = as_user("bWU6b3BlbiBzZXNhbWU=");
    assert!(code == 0 && !said.contains("sesame"), "{said}");
    assert_eq!(desk.factor(), "2");
    let yaml = desk.app_yaml();
    assert!(yaml.contains("@sha256:") && !yaml.contains("sesame") && !yaml.contains("bWU6"), "{yaml}");
}
