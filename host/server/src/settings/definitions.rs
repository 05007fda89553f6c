//! Where definitions are kept, and what they are kept in step with.

use std::{path::PathBuf, time::Duration};

use nexus_llm::KeyReference;
use nexus_state::RemoteConfig;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::duration;

/// Where definitions are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefinitionSettings {
    /// The bare repository; `definitions.git` in the data directory if left out. Several hosts may share one.
    pub repository: Option<PathBuf>,
    /// A repository elsewhere that it is kept in step with.
    pub remote: Option<RemoteSettings>,
}

/// A repository elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteSettings {
    /// A path, or `file://`, `git://` or `http://`.
    pub url: String,
    /// The remote's branch.
    #[serde(default = "main")]
    pub branch: String,
    /// The user's name, for `http://`.
    #[serde(default)]
    pub username: Option<String>,
    /// Where the password or token is.
    #[serde(default)]
    pub password: Option<KeyReference>,
    /// Time between two looks; zero: only by hand.
    #[serde(default, with = "duration")]
    pub every: Duration,
    /// Only take definitions from there, and refuse to change them here.
    #[serde(default)]
    pub follow: bool,
}

impl RemoteSettings {
    /// How the remote is reached, with what `password` leads to.
    pub(crate) fn config(&self, password: Option<SecretString>) -> RemoteConfig {
        let user = self.username.clone().unwrap_or_else(|| "git".to_owned());
        let credentials = password.map(|password| (user, password));
        RemoteConfig { url: self.url.clone(), branch: self.branch.clone(), credentials }
    }
}

fn main() -> String {
    "main".to_owned()
}
