//! A real registry: Debian's `docker-registry`, on a free port of this machine.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nexus_model::sha256_hex;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::in_time;

/// `me` with the password `open sesame`, by bcrypt.
const USERS: &str = "me:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
const USER: (&str, &str) = ("me", "open sesame");
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Whom a registry answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    ToAll,
    ToUser,
}

/// It is ended when this is dropped.
pub(crate) struct Registry {
    pub(crate) host: String,
    folder: PathBuf,
    child: Child,
    open: Open,
    client: reqwest::Client,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one that keeps all it has in `folder`.
    pub(crate) async fn start(folder: &Path, open: Open) -> Self {
        let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("users"), USERS).unwrap();
        let auth = json!({ "htpasswd": { "realm": "test", "path": folder.join("users") } });
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": folder } },
            "http": { "addr": host },
        });
        if open == Open::ToUser {
            config["auth"] = auth;
        }
        // JSON is YAML.
        fs::write(folder.join("config.yml"), config.to_string()).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry cannot be started ({error}): run `cargo xtask setup`"));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let registry = Self { host, folder: folder.to_owned(), child, open, client };
        in_time(async {
            while registry.ask(Method::GET, "").send().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        registry
    }

    /// What it calls this tag, or this digest, of the repository of the tests.
    pub(crate) fn reference(&self, tag: &str) -> String {
        let join = if tag.starts_with("sha256:") { '@' } else { ':' };
        format!("{}/acme/sums{join}{tag}", self.host)
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("http://{}/v2/{path}", self.host) };
        let request = self.client.request(method, url);
        if self.open == Open::ToUser { request.basic_auth(USER.0, Some(USER.1)) } else { request }
    }

    /// Pushes bytes; their descriptor, of this type.
    pub(crate) async fn push_blob(&self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = format!("sha256:{}", sha256_hex(&bytes));
        let begun = self.ask(Method::POST, "acme/sums/blobs/uploads/").send().await.unwrap();
        let place = begun.error_for_status().unwrap().headers()["location"].to_str().unwrap().to_owned();
        let join = if place.contains('?') { '&' } else { '?' };
        let size = bytes.len();
        let put = self.ask(Method::PUT, &format!("{place}{join}digest={digest}")).body(bytes);
        put.header("content-type", "application/octet-stream").send().await.unwrap().error_for_status().unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    /// Pushes a manifest with these layers under a tag; its digest.
    pub(crate) async fn push_layers(&self, tag: &str, layers: &[Value]) -> String {
        let config = self.push_blob("application/vnd.wasm.config.v0+json", b"{}".to_vec()).await;
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        self.push_manifest(tag, MANIFEST, &manifest).await
    }

    /// Pushes one layer of this type under a tag; the digest of its manifest.
    pub(crate) async fn push(&self, tag: &str, media_type: &str, bytes: Vec<u8>) -> String {
        let layer = self.push_blob(media_type, bytes).await;
        self.push_layers(tag, &[layer]).await
    }

    /// Pushes an index of one manifest for `wasm` beside one for a machine, both of this digest; its digest.
    pub(crate) async fn push_index(&self, tag: &str, digest: &str) -> String {
        let size = self.manifest(digest).await.len();
        let entry = |architecture: &str| {
            let platform = json!({ "os": "linux", "architecture": architecture });
            json!({ "mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform })
        };
        let entries = [entry("amd64"), entry("wasm")];
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        self.push_manifest(tag, INDEX, &index).await
    }

    /// A manifest as it is stored.
    pub(crate) async fn manifest(&self, digest: &str) -> Vec<u8> {
        let stored = self.ask(Method::GET, &format!("acme/sums/manifests/{digest}")).header("accept", MANIFEST);
        stored.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap().to_vec()
    }

    async fn push_manifest(&self, tag: &str, media_type: &str, manifest: &Value) -> String {
        let text = manifest.to_string();
        let digest = format!("sha256:{}", sha256_hex(&text));
        let put = self.ask(Method::PUT, &format!("acme/sums/manifests/{tag}")).body(text);
        put.header("content-type", media_type).send().await.unwrap().error_for_status().unwrap();
        digest
    }

    /// Puts other bytes behind the back of the registry where it keeps those of this digest.
    pub(crate) fn forge(&self, digest: &str, bytes: &[u8]) {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let file = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        assert!(self.folder.join(&file).exists(), "{file}");
        fs::write(self.folder.join(file), bytes).unwrap();
    }
}
