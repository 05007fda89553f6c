//! Signatures of cosign's with a pair of keys: a manifest beside the artefact, whose layers are what was signed and whose annotations
//! are the signatures
//! (<https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>). Certificates and transparency logs are not looked at.

use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use oci_client::{Reference, manifest::OciDescriptor};
use serde_json::Value;

use super::PullError;

/// What a layer is called that was signed.
const LAYER_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation that holds a layer's signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The largest that is looked at, in bytes: a payload names a digest, and little else.
const MAX_PAYLOAD_BYTES: i64 = 64 << 10;
/// Signatures that are looked at, at the most.
const MAX_SIGNATURES: usize = 16;
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// A public key of cosign's: ECDSA on P-256.
pub(in super::super) struct Key(Vec<u8>);

impl Key {
    /// Reads a key as PEM.
    pub(in super::super) fn read(path: &Path) -> Result<Self, PullError> {
        let wrong = |reason: &str| PullError::Key { path: path.to_owned(), reason: reason.to_owned() };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
        let inner = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
        let (inner, _) = inner.ok_or_else(|| wrong("it has no `PUBLIC KEY` as PEM"))?;
        let plain: String = inner.split_whitespace().collect();
        STANDARD.decode(plain).map(Self).map_err(|_| wrong("what is in its `PUBLIC KEY` is no base64"))
    }

    /// Whether `payload` was signed with this key, and says that the manifest of this digest was.
    pub(super) fn has_signed(&self, payload: &[u8], signature: &str, digest: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0);
        key.verify(payload, &signature).is_ok() && names(payload, digest)
    }
}

fn names(payload: &[u8], digest: &str) -> bool {
    let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
    payload.pointer("/critical/image/docker-manifest-digest").and_then(Value::as_str) == Some(digest)
}

/// Where the signatures of the manifest of this digest are.
pub(super) fn place(reference: &Reference, digest: &str) -> Reference {
    let tag = format!("{}.sig", digest.replace(':', "-"));
    Reference::with_tag(reference.registry().to_owned(), reference.repository().to_owned(), tag)
}

/// The layers that may have been signed, each with its signature.
pub(super) fn signed(layers: &[OciDescriptor]) -> impl Iterator<Item = (&OciDescriptor, &str)> {
    let fit = layers.iter().filter(|layer| layer.media_type == LAYER_TYPE && layer.size <= MAX_PAYLOAD_BYTES);
    fit.filter_map(|layer| Some((layer, layer.annotations.as_ref()?.get(SIGNATURE)?.as_str()))).take(MAX_SIGNATURES)
}
