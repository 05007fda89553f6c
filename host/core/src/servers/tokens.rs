//! Tokens of logins at outside servers, among the secrets.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use nexus_mcp::hub::TokenStore;
use secrecy::SecretString;

use crate::vault::SecretVault;

/// Keeps tokens in the vault, out of reach of definitions.
pub(crate) struct VaultTokens(pub(crate) Arc<SecretVault>);

impl fmt::Debug for VaultTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultTokens")
    }
}

#[async_trait]
impl TokenStore for VaultTokens {
    async fn load(&self, key: &str) -> Result<Option<SecretString>, String> {
        self.0.own(&name(key)).await.map_err(|error| error.to_string())
    }

    async fn save(&self, key: &str, tokens: SecretString) -> Result<(), String> {
        self.0.keep_own(&name(key), Some(&tokens)).await.map_err(|error| error.to_string())
    }

    async fn clear(&self, key: &str) -> Result<(), String> {
        self.0.keep_own(&name(key), None).await.map_err(|error| error.to_string())
    }
}

fn name(key: &str) -> String {
    format!("mcp/{key}")
}
