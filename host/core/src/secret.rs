//! The master key, and one key per purpose derived from it.

use hmac::{Hmac, Mac};
use nexus_model::{Key, RuntimeStore, StoreError};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

/// 256 bits that everything secret on this host hangs from. Never shown, never logged.
pub struct MasterKey(SecretBox<[u8; 32]>);

impl MasterKey {
    /// Takes the bytes of a master key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// The key for one purpose: HMAC-SHA256 of the purpose under the master key (the expand step of HKDF, RFC 5869, for
    /// one block).
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        mac(self.0.expose_secret(), &[purpose.as_bytes(), &[1]])
    }
}

impl MasterKey {
    /// Whether what is in the store was sealed under this master key; a store that has nothing yet is marked with it.
    pub async fn is_of(&self, runtime: &dyn RuntimeStore) -> Result<bool, StoreError> {
        if runtime.compare_and_set(&mark_key(), None, self.mark(), None).await? {
            return Ok(true);
        }
        Ok(self.opens(runtime).await? == Some(true))
    }

    /// Whether what is in the store was sealed under this master key; `None` if nothing was yet. Writes nothing.
    pub async fn opens(&self, runtime: &dyn RuntimeStore) -> Result<Option<bool>, StoreError> {
        Ok(runtime.get(&mark_key()).await?.map(|stored| stored == self.mark()))
    }

    fn mark(&self) -> Vec<u8> {
        hex::encode(self.derive("nexus/mark/1")).into_bytes()
    }
}

fn mark_key() -> Key {
    Key::of_host("master_key", "mark")
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// HMAC-SHA256 of the parts, one after the other.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A block is 64 bytes: a shorter key is padded with zeros, as RFC 2104 says.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use nexus_state::memory::MemoryRuntime;

    use super::{MasterKey, mac};

    #[tokio::test]
    async fn a_store_knows_its_master_key() {
        let runtime = MemoryRuntime::default();
        let (one, other) = (MasterKey::from_bytes([1; 32]), MasterKey::from_bytes([2; 32]));
        assert_eq!(one.opens(&runtime).await.unwrap(), None);
        assert!(one.is_of(&runtime).await.unwrap() && one.is_of(&runtime).await.unwrap());
        assert!(!other.is_of(&runtime).await.unwrap());
        assert_eq!(
            (one.opens(&runtime).await.unwrap(), other.opens(&runtime).await.unwrap()),
            (Some(true), Some(false))
        );
    }

    #[test]
    fn purposes_do_not_share_a_key() {
        let master = MasterKey::from_bytes([7; 32]);
        assert_ne!(master.derive("pepper"), master.derive("cache"));
        assert_eq!(master.derive("pepper"), MasterKey::from_bytes([7; 32]).derive("pepper"));
        assert_eq!(format!("{master:?}"), "MasterKey(…)");
    }

    #[test]
    fn is_the_hmac_of_the_standard() {
        // RFC 4231, test case 1: a key of 20 bytes 0x0b, padded here by hand to the 32 that this function takes.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let tag = hex::encode(mac(&key, &[b"Hi ", b"There"]));
        assert_eq!(tag, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
}
