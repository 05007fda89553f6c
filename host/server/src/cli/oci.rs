//! Components from OCI registries, as the CNCF's guidance for Wasm artefacts lays them out: a manifest with one layer, which
//! is the component.

mod error;
mod login;
mod signature;

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use nexus_model::sha256_hex;
use nexus_signals::Redactor;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::{
        IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE,
        OCI_IMAGE_MEDIA_TYPE, OciDescriptor,
    },
    secrets::RegistryAuth,
};
use serde::Deserialize;
use tokio::{io::AsyncWrite, time::timeout};

pub(super) use self::{error::PullError, signature::Key};
use crate::environment::Environment;

/// What a layer is called that is a component, and what older tools call it.
const LAYER_TYPES: [&str; 2] = ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"];
/// What is asked for. Docker's types are among them, so that an image of a container is told to be one.
const MANIFEST_TYPES: [&str; 4] =
    [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];
/// The largest manifest, in bytes: what the distribution specification has registries take at least.
const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// The largest component, in bytes: the server compiles no larger one.
const MAX_COMPONENT_BYTES: u64 = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest silence of a registry.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the login and a manifest may take. The library reads a manifest as a whole, so time is what ends an endless one.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long all of it may take.
const WHOLE_TIMEOUT: Duration = Duration::from_mins(5);

/// A component, and where it came from.
pub(super) struct Pulled {
    pub(super) component: Vec<u8>,
    /// The reference with the digest of what it named: this names the same for ever.
    pub(super) source: String,
}

/// The reference in a text that begins with a registry's host, as `oci.example/acme/orders:1.2`; `None` if it does not.
pub(super) fn reference(text: &str) -> Option<Result<Reference, PullError>> {
    let (registry, rest) = text.split_once('/')?;
    let names_a_host = registry == "localhost" || registry.contains(['.', ':']);
    if !names_a_host || registry.starts_with('.') || rest.is_empty() {
        return None;
    }
    let wrong = |reason: String| PullError::Reference { text: text.to_owned(), reason };
    Some(match text.parse::<Reference>() {
        Ok(reference) if reference.digest().is_some_and(|digest| !digest.starts_with("sha256:")) => {
            Err(wrong("only digests by SHA-256 are taken".to_owned()))
        }
        parsed => parsed.map_err(|error| wrong(error.to_string())),
    })
}

/// The last part of a repository's name.
pub(super) fn name(reference: &Reference) -> &str {
    reference.repository().rsplit('/').next().unwrap_or_default()
}

/// Pulls a component. What comes is checked against the digest in the reference, if there is one, and against the digests
/// in its manifest. With a key, nothing is pulled that it has not signed.
pub(super) async fn pull(
    reference: &Reference,
    key: Option<&Key>,
    environment: &Environment,
    redactor: &Redactor,
) -> Result<Pulled, PullError> {
    let auth = login::find(reference.resolve_registry(), environment, redactor).await?;
    let pull = Pull { client: client(reference)?, reference, auth };
    timeout(WHOLE_TIMEOUT, pull.component(key)).await.unwrap_or_else(|_| Err(PullError::slow(reference)))
}

fn client(reference: &Reference) -> Result<Client, PullError> {
    let registry = reference.resolve_registry();
    let protocol = if is_loopback(registry) {
        ClientProtocol::HttpsExcept(vec![registry.to_owned()])
    } else {
        ClientProtocol::Https
    };
    let config = ClientConfig {
        protocol,
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(READ_TIMEOUT),
        user_agent: concat!("nexus/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    // `Client::new` would go on without the timeouts if this failed.
    Client::try_from(config).map_err(|error| PullError::of(reference, false, error))
}

/// Whether a registry is on this machine, where plain HTTP will do.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is read of a manifest: the layers of an artefact, or the entries of an index.
#[derive(Debug, Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<OciDescriptor>,
    #[serde(default)]
    manifests: Vec<ImageIndexEntry>,
}

struct Pull<'a> {
    client: Client,
    reference: &'a Reference,
    auth: RegistryAuth,
}

impl Pull<'_> {
    async fn component(&self, key: Option<&Key>) -> Result<Pulled, PullError> {
        // Asked for by itself: when it fails within another request, the library goes on without a login.
        let login = self.client.auth(self.reference, &self.auth, RegistryOperation::Pull);
        self.in_time(login).await?;
        let (mut manifest, digest) = self.manifest(self.reference).await?;
        if let Some(key) = key {
            self.check_signed(key, &digest).await?;
        }
        if !manifest.manifests.is_empty() {
            let entry = wasm_entry(&manifest.manifests).ok_or_else(|| PullError::of_index(self.reference))?;
            manifest = self.manifest(&self.reference.clone_with_digest(entry.digest.clone())).await?.0;
        }
        let component = self.layer(layer(self.reference, &manifest.layers)?).await?;
        Ok(Pulled { component, source: pinned(self.reference, &digest) })
    }

    /// Looks for a signature of `key` for the manifest of this digest.
    async fn check_signed(&self, key: &Key, digest: &str) -> Result<(), PullError> {
        let manifest = match self.manifest(&signature::place(self.reference, digest)).await {
            Err(PullError::NotFound { .. }) => return Err(PullError::unsigned(self.reference, digest, false)),
            manifest => manifest?.0,
        };
        for (layer, signature) in signature::signed(&manifest.layers) {
            if key.has_signed(&self.layer(layer).await?, signature, digest) {
                return Ok(());
            }
        }
        Err(PullError::unsigned(self.reference, digest, true))
    }

    /// A manifest and its digest, which the reference's is if it has one.
    async fn manifest(&self, reference: &Reference) -> Result<(Manifest, String), PullError> {
        let pulled = self.client.pull_manifest_raw(reference, &self.auth, &MANIFEST_TYPES);
        let (bytes, _) = self.in_time(pulled).await?;
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(PullError::too_large(
                self.reference,
                "manifest",
                bytes.len() as u64,
                MAX_MANIFEST_BYTES as u64,
            ));
        }
        let digest = digest(&bytes);
        if let Some(expected) = reference.digest().filter(|expected| *expected != digest) {
            return Err(PullError::digest(self.reference, expected, &digest));
        }
        let manifest = serde_json::from_slice(&bytes);
        Ok((manifest.map_err(|error| PullError::answer(self.reference, &error))?, digest))
    }

    /// The bytes of a layer. Its `urls`, which may lead anywhere, are not followed.
    async fn layer(&self, layer: &OciDescriptor) -> Result<Vec<u8>, PullError> {
        let size = usize::try_from(layer.size).unwrap_or_default();
        let mut bytes = Bounded { bytes: Vec::new(), size };
        let pulled = self.client.pull_blob(self.reference, layer.digest.as_str(), &mut bytes).await;
        pulled.map_err(|error| self.failed(error))?;
        // The library has checked it, by the algorithm that the digest names; here is where it is trusted.
        let digest = digest(&bytes.bytes);
        if digest != layer.digest {
            return Err(PullError::digest(self.reference, &layer.digest, &digest));
        }
        Ok(bytes.bytes)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, OciDistributionError>>) -> Result<T, PullError> {
        match timeout(MANIFEST_TIMEOUT, work).await {
            Ok(done) => done.map_err(|error| self.failed(error)),
            Err(_) => Err(PullError::slow(self.reference)),
        }
    }

    fn failed(&self, error: OciDistributionError) -> PullError {
        PullError::of(self.reference, self.auth != RegistryAuth::Anonymous, error)
    }
}

/// The component among the entries of an index: the one for `wasm`, or the only one.
fn wasm_entry(entries: &[ImageIndexEntry]) -> Option<&ImageIndexEntry> {
    let is_wasm = |entry: &&ImageIndexEntry| {
        entry.platform.as_ref().is_some_and(|platform| platform.architecture.to_string() == "wasm")
    };
    match entries {
        [only] => Some(only),
        entries => entries.iter().find(is_wasm),
    }
}

/// The one layer that is a component, of a size that is taken.
fn layer<'m>(reference: &Reference, layers: &'m [OciDescriptor]) -> Result<&'m OciDescriptor, PullError> {
    let [layer] = layers else { return Err(PullError::layers(reference, layers)) };
    if !LAYER_TYPES.contains(&layer.media_type.as_str()) {
        return Err(PullError::layers(reference, layers));
    }
    // A size below nothing is as much as there can be.
    let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
    if size > MAX_COMPONENT_BYTES {
        return Err(PullError::too_large(reference, "component", size, MAX_COMPONENT_BYTES));
    }
    Ok(layer)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

fn pinned(reference: &Reference, digest: &str) -> String {
    let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{}/{}{tag}@{digest}", reference.registry(), reference.repository())
}

/// Takes no more bytes than a layer's manifest says that it has.
struct Bounded {
    bytes: Vec<u8>,
    size: usize,
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len() + bytes.len() > self.size {
            let message = format!("more bytes come than the {} of its manifest", self.size);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, message)));
        }
        self.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Manifest, is_loopback, layer, name, pinned, reference, wasm_entry};

    fn parsed(text: &str) -> oci_client::Reference {
        reference(text).unwrap().unwrap()
    }

    #[test]
    fn a_reference_names_its_registry() {
        for text in ["oci.example/acme/orders:1.2", "localhost:5000/orders", "127.0.0.1:5000/a/b"] {
            assert!(reference(text).unwrap().is_ok(), "{text}");
        }
        for text in
            ["orders.wasm", "./orders.wasm", "../x/orders.wasm", "/x/orders.wasm", "acme/orders:1", "oci.example/"]
        {
            assert!(reference(text).is_none(), "{text}");
        }
        for text in [
            "oci.example/Acme/orders",
            "oci.example/acme/orders@sha256:12",
            &format!("a.io/b@sha512:{}", "0".repeat(128)),
        ] {
            assert!(reference(text).unwrap().is_err(), "{text}");
        }
        assert_eq!(name(&parsed("oci.example/acme/orders:1.2")), "orders");
    }

    #[test]
    fn what_is_pinned_never_changes() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let of = |text: &str| pinned(&parsed(text), &digest);
        assert_eq!(of("oci.example/acme/orders:1.2"), format!("oci.example/acme/orders:1.2@{digest}"));
        assert_eq!(of("oci.example/acme/orders"), format!("oci.example/acme/orders:latest@{digest}"));
        assert_eq!(of(&format!("oci.example/acme/orders@{digest}")), format!("oci.example/acme/orders@{digest}"));
        assert_eq!(of(&format!("oci.example/acme/orders:1@{digest}")), format!("oci.example/acme/orders:1@{digest}"));
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in ["oci.example", "10.0.0.1:5000", "localhost.example:5000", "127.0.0.1.example"] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }

    #[test]
    fn one_layer_is_a_component() {
        let of = |layers: serde_json::Value| serde_json::from_value::<Manifest>(json!({ "layers": layers })).unwrap();
        let one = |media_type: &str, size: i64| json!({ "mediaType": media_type, "size": size, "digest": "sha256:0" });
        let reference = parsed("oci.example/acme/orders");
        for media_type in ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"] {
            assert!(layer(&reference, &of(json!([one(media_type, 32 << 20)])).layers).is_ok(), "{media_type}");
        }
        let refused = [
            (json!([]), "no layers"),
            (json!([one("application/wasm", 1), one("application/wasm", 1)]), "application/wasm, application/wasm"),
            (json!([one("application/vnd.oci.image.layer.v1.tar", 1)]), "application/vnd.oci.image.layer.v1.tar"),
            (json!([one("application/wasm", (32 << 20) + 1)]), "33554433 bytes"),
            (json!([one("application/wasm", -1)]), "at most 33554432"),
        ];
        for (layers, why) in refused {
            let error = layer(&reference, &of(layers).layers).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_index_has_one_entry_for_wasm() {
        let entry = |digest: &str, architecture: &str| json!({ "mediaType": "m", "size": 1, "digest": digest, "platform": { "os": "linux", "architecture": architecture } });
        let of = |entries: serde_json::Value| {
            let index: Manifest = serde_json::from_value(json!({ "manifests": entries })).unwrap();
            wasm_entry(&index.manifests).map(|entry| entry.digest.clone())
        };
        assert_eq!(of(json!([entry("a", "amd64"), entry("b", "wasm")])).as_deref(), Some("b"));
        assert_eq!(of(json!([entry("a", "amd64")])).as_deref(), Some("a"));
        assert_eq!(of(json!([entry("a", "amd64"), entry("b", "arm64")])), None);
    }
}
