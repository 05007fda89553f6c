//! Applications as JSON.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use nexus_model::FileTree;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::{Problem, error};

/// What a file holds: text as it is, anything else in Base64 (RFC 4648, 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum FileContent {
    /// UTF-8 text.
    Text(String),
    /// Any bytes.
    Bytes(EncodedBytes),
}

/// Bytes that are no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncodedBytes {
    /// The bytes in Base64, padded.
    #[schema(example = "AGFzbQ0AAQA=")]
    pub base64: String,
}

impl FileContent {
    /// As it is sent: text where it is text.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(EncodedBytes { base64: STANDARD.encode(bytes) }),
        }
    }

    /// The bytes that are meant; `Err` says what is wrong with the Base64.
    pub fn bytes(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Bytes(EncodedBytes { base64 }) => STANDARD.decode(base64).map_err(|error| error.to_string()),
        }
    }
}

/// All files of an application. What is read here can be sent back as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppFiles {
    /// Its revision; also the `ETag`.
    pub revision: String,
    /// The files, by their paths within the application's folder.
    #[schema(example = json!({ "app.yaml": "apiVersion: nexus/v1\n…", "plugins/x.wasm": { "base64": "AGFzbQ0AAQA=" } }))]
    pub files: BTreeMap<String, FileContent>,
}

/// An application to be written as a whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutApp {
    /// All its files, by their paths. What is not named is removed.
    pub files: BTreeMap<String, FileContent>,
    /// What the history says of the change; a line of the server's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Passed over, so that what was read can be sent back. `If-Match` says what is to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// An application to be added.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// Its name, which is also `metadata.name` in its `app.yaml`.
    #[schema(example = "support")]
    pub name: String,
    /// All its files, by their paths.
    pub files: BTreeMap<String, FileContent>,
    /// What the history says of it; a line of the server's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A change that was made: durable, and served by this host from now on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WrittenView {
    /// The application.
    #[schema(example = "support")]
    pub app: String,
    /// Its revision now, also the `ETag`; absent if the application was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether anything changed; if not, there is no commit.
    pub changed: bool,
}

/// Files as they are kept, from files as they are sent.
pub(super) fn tree(files: BTreeMap<String, FileContent>) -> Result<FileTree, Problem> {
    if files.is_empty() {
        return Err(error::invalid_json("`files` names no file; an application has an `app.yaml` at least"));
    }
    files
        .into_iter()
        .map(|(path, content)| match content.bytes() {
            Ok(bytes) => Ok((path, Arc::from(bytes))),
            Err(reason) => Err(error::file_refused(&path, &format!("its `base64` is none: {reason}"))),
        })
        .collect()
}

pub(super) fn contents(files: &FileTree) -> BTreeMap<String, FileContent> {
    files.iter().map(|(path, content)| (path.clone(), FileContent::of(content))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_model::FileTree;

    use super::{contents, tree};

    #[test]
    fn every_byte_survives() {
        let odd: Vec<u8> = (0..=255).collect();
        let files: [(&str, &[u8]); 4] = [("a", b"text\r\n"), ("b", &odd), ("c", b""), ("d", "\u{feff}ä\0".as_bytes())];
        let files: FileTree = files.into_iter().map(|(path, bytes)| (path.to_owned(), Arc::from(bytes))).collect();
        let sent = serde_json::to_string(&contents(&files)).unwrap();
        assert_eq!(tree(serde_json::from_str(&sent).unwrap()).unwrap(), files);
    }
}
