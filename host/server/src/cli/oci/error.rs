//! Why a component was not pulled, and what to do about it.

use std::path::PathBuf;

use miette::Diagnostic;
use oci_client::{
    Reference,
    errors::{DigestError, OciDistributionError as Error, OciEnvelope, OciErrorCode as Code},
    manifest::OciDescriptor,
};

/// The longest part of what a registry said that is shown, in characters.
const MAX_SAID: usize = 300;

#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum PullError {
    #[error("`{text}` names nothing in a registry: {reason}")]
    #[diagnostic(help(
        "write it as `oci.example/acme/orders:1.2`, in lower case, or with a digest: `oci.example/acme/orders@sha256:…`"
    ))]
    Reference { text: String, reason: String },
    #[error("the login for {registry} cannot be read: {reason}")]
    #[diagnostic(help("mend it, or have `docker login {registry}` write it anew"))]
    Login { registry: String, reason: String },
    #[error("{registry} refuses `{reference}` to {}", if *.known { "the login that is written down for it" } else { "everybody without a login" })]
    #[diagnostic(help(
        "log in with `docker login {registry}`, or give a login in DOCKER_AUTH_CONFIG; it must be allowed to pull this"
    ))]
    Unauthorized { registry: String, reference: String, known: bool },
    #[error("{registry} has no `{reference}`")]
    #[diagnostic(help(
        "look for a mistake in its name and its tag; where a login is needed, some registries say this to everybody else"
    ))]
    NotFound { registry: String, reference: String },
    #[error("`{reference}` holds no component, which is one layer of the type `application/wasm`: it has {layers}")]
    #[diagnostic(help("push the component as a Wasm artefact, as `wkg oci push` does"))]
    NoComponent { reference: String, layers: String },
    #[error("the {what} of `{reference}` has {bytes} bytes, and at most {most} are taken")]
    #[diagnostic(help(
        "make it smaller: leave out debug information, with `strip = true` in Cargo's profile or `wasm-tools strip`"
    ))]
    TooLarge { what: &'static str, reference: String, bytes: u64, most: u64 },
    #[error("{registry} sent for `{reference}` what has the digest {actual} and not {expected}")]
    #[diagnostic(help(
        "it was changed in the registry or on its way, and nothing of it was used: tell who runs the registry"
    ))]
    Digest { registry: String, reference: String, expected: String, actual: String },
    #[error("`{reference}` is not signed with this key: {}", if *.signed { "it has signatures, and all are of others or for something else" } else { "it has no signature of cosign's" })]
    #[diagnostic(help(
        "sign what you trust by its digest: `cosign sign --key cosign.key --new-bundle-format=false {digest}`"
    ))]
    Unsigned { reference: String, digest: String, signed: bool },
    #[error("`{}` is no key to check signatures with: {reason}", .path.display())]
    #[diagnostic(help(
        "give the `cosign.pub` of `cosign generate-key-pair`, or another public key for ECDSA on P-256 as PEM"
    ))]
    Key { path: PathBuf, reason: String },
    #[error("{registry} cannot be reached, or broke off")]
    #[diagnostic(help(
        "look for a mistake in its name, and whether it is up; a file is named as `./{registry}/…`. Only a registry on this machine is asked over plain HTTP"
    ))]
    Unreachable {
        registry: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{registry} took too long to send `{reference}`")]
    #[diagnostic(help("try again later: it may be overloaded, or the network slow"))]
    Slow { registry: String, reference: String },
    #[error("{registry} answered for `{reference}` what cannot be used: {said}")]
    #[diagnostic(help(
        "is it a registry by the OCI's distribution specification, and well? If it limits requests, try again later"
    ))]
    Answer { registry: String, reference: String, said: String },
}

impl PullError {
    /// What an error of the library comes to. `known`: whether there was a login.
    pub(super) fn of(reference: &Reference, known: bool, error: Error) -> Self {
        let (registry, name) = names(reference);
        match error {
            Error::AuthenticationFailure(_)
            | Error::UnauthorizedError { .. }
            | Error::ServerError { code: 401 | 403, .. } => Self::Unauthorized { registry, reference: name, known },
            Error::RegistryError { envelope, .. } if has(&envelope, &[Code::Unauthorized, Code::Denied]) => {
                Self::Unauthorized { registry, reference: name, known }
            }
            Error::RegistryError { envelope, .. }
                if has(&envelope, &[Code::ManifestUnknown, Code::NameUnknown, Code::NotFound, Code::BlobUnknown]) =>
            {
                Self::NotFound { registry, reference: name }
            }
            Error::ServerError { code: 404, .. } | Error::ImageManifestNotFoundError(_) => {
                Self::NotFound { registry, reference: name }
            }
            Error::DigestError(DigestError::VerificationError { expected, actual }) => {
                Self::Digest { registry, reference: name, expected, actual }
            }
            Error::RequestError(source) if source.is_timeout() && !source.is_connect() => {
                Self::Slow { registry, reference: name }
            }
            Error::RequestError(source) => Self::Unreachable { registry, source },
            error => Self::answer(reference, &error),
        }
    }

    pub(super) fn of_index(reference: &Reference) -> Self {
        let layers = "no layers but the images of a container, none of them for `wasm`".to_owned();
        Self::NoComponent { reference: reference.to_string(), layers }
    }

    pub(super) fn layers(reference: &Reference, layers: &[OciDescriptor]) -> Self {
        let types: Vec<_> = layers.iter().take(4).map(|layer| layer.media_type.as_str()).collect();
        let layers = match layers.len() {
            0 => "no layers".to_owned(),
            count if count > types.len() => format!("{count} layers: {}, …", types.join(", ")),
            _ => types.join(", "),
        };
        Self::NoComponent { reference: reference.to_string(), layers: shown(&layers) }
    }

    pub(super) fn too_large(reference: &Reference, what: &'static str, bytes: u64, most: u64) -> Self {
        Self::TooLarge { what, reference: reference.to_string(), bytes, most }
    }

    pub(super) fn digest(reference: &Reference, expected: &str, actual: &str) -> Self {
        let (registry, reference) = names(reference);
        Self::Digest { registry, reference, expected: shown(expected), actual: actual.to_owned() }
    }

    pub(super) fn unsigned(reference: &Reference, digest: &str, signed: bool) -> Self {
        let digest = format!("{}/{}@{digest}", reference.registry(), reference.repository());
        Self::Unsigned { reference: reference.to_string(), digest, signed }
    }

    pub(super) fn slow(reference: &Reference) -> Self {
        let (registry, reference) = names(reference);
        Self::Slow { registry, reference }
    }

    pub(super) fn answer(reference: &Reference, error: &dyn std::error::Error) -> Self {
        let (registry, reference) = names(reference);
        Self::Answer { registry, reference, said: shown(&error.to_string()) }
    }
}

fn names(reference: &Reference) -> (String, String) {
    (reference.registry().to_owned(), reference.to_string())
}

fn has(envelope: &OciEnvelope, codes: &[Code]) -> bool {
    envelope.errors.iter().any(|error| codes.contains(&error.code))
}

/// What a stranger said, fit for a terminal.
fn shown(said: &str) -> String {
    let plain = said.chars().map(|character| if character.is_control() { ' ' } else { character });
    plain.take(MAX_SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::{Error, PullError, shown};

    #[test]
    fn what_a_registry_answers_is_told_apart() {
        let reference = "oci.example/acme/orders:1".parse().unwrap();
        let of = |error: Error| PullError::of(&reference, true, error);
        let status = |code: u16| Error::ServerError { code, url: "u".to_owned(), message: "\u{1b}[2Jm".to_owned() };
        let coded = |code: &str| {
            let envelope = serde_json::from_value(serde_json::json!({ "errors": [{ "code": code }] })).unwrap();
            Error::RegistryError { envelope, url: "u".to_owned() }
        };
        assert!(matches!(of(status(403)), PullError::Unauthorized { known: true, .. }));
        assert!(matches!(of(coded("DENIED")), PullError::Unauthorized { .. }));
        assert!(matches!(of(status(404)), PullError::NotFound { .. }));
        assert!(matches!(of(coded("MANIFEST_UNKNOWN")), PullError::NotFound { .. }));
        let busy = of(status(503)).to_string();
        assert!(busy.contains("503") && !busy.contains('\u{1b}'), "{busy}");
        assert!(matches!(of(coded("TOOMANYREQUESTS")), PullError::Answer { .. }));
    }

    #[test]
    fn what_is_shown_has_an_end() {
        assert_eq!(shown(&"x\n".repeat(1_000)).len(), 300);
    }
}
