//! Where the keys of models come from.

use nexus_llm::KeyReference;
use nexus_model::SecretOwner;
use secrecy::SecretString;

use crate::{environment::Environment, secrets::AllSecrets};

/// The key that a reference names; `None` if there is none. A file and a secret are looked up each time, so that a rotated
/// key is found.
pub(crate) fn resolve(
    reference: &KeyReference,
    environment: &Environment,
    secrets: &AllSecrets,
) -> Option<SecretString> {
    match reference {
        KeyReference::Env(name) => environment.get(name).map(SecretString::from),
        KeyReference::File(path) => {
            let text = std::fs::read_to_string(path).ok()?;
            Some(text.trim()).filter(|key| !key.is_empty()).map(SecretString::from)
        }
        KeyReference::Secret(name) => secrets.find(&SecretOwner::Host, name),
    }
}
