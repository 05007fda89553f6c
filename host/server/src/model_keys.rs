//! Where the keys of models come from.

use nexus_llm::KeyReference;
use secrecy::SecretString;

use crate::environment::Environment;

/// The key that a reference names; `None` if there is none. A file is read each time, so that a rotated key is found.
pub(crate) fn resolve(reference: &KeyReference, environment: &Environment) -> Option<SecretString> {
    match reference {
        KeyReference::Env(name) => environment.get(name).map(SecretString::from),
        KeyReference::File(path) => {
            let text = std::fs::read_to_string(path).ok()?;
            Some(text.trim()).filter(|key| !key.is_empty()).map(SecretString::from)
        }
    }
}
