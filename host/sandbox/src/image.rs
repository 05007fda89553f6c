//! Names of images.

use std::{fmt, str::FromStr};

/// An image, as a specification names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageReference {
    /// `name@sha256:…`: what a registry has under this digest.
    Digest(String),
    /// `sha256:…`: what the engine has under this id.
    Id(String),
    /// Anything else. What it means can change, so it is for development only.
    Tag(String),
}

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no image")]
pub struct InvalidImage(String);

/// The longest name of an image.
const MAX_LENGTH: usize = 512;

impl ImageReference {
    /// The text, as the engine wants it.
    pub fn as_str(&self) -> &str {
        let (Self::Digest(text) | Self::Id(text) | Self::Tag(text)) = self;
        text
    }

    /// Whether it means the same bytes for ever.
    pub fn is_pinned(&self) -> bool {
        !matches!(self, Self::Tag(_))
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        let invalid = || InvalidImage(text.chars().take(80).collect());
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if text.is_empty() || text.len() > MAX_LENGTH || !text.chars().all(plain) || !starts_plainly(text) {
            return Err(invalid());
        }
        match text.split_once('@') {
            Some((name, digest)) if is_sha256(digest) && !name.is_empty() => Ok(Self::Digest(text.to_owned())),
            Some(_) => Err(invalid()),
            None if is_sha256(text) => Ok(Self::Id(text.to_owned())),
            None => Ok(Self::Tag(text.to_owned())),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn starts_plainly(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.contains("..") && !text.contains("//")
}

fn is_sha256(text: &str) -> bool {
    let hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:6b4e5f5c3f3d2f7a9f0a1d9d2a1f6d4f3b2a1c0d9e8f7a6b5c4d3e2f1a0b9c8d";

    #[test]
    fn a_name_says_whether_it_is_pinned() {
        let read = |text: &str| text.parse::<ImageReference>();
        assert_eq!(read(HASH), Ok(ImageReference::Id(HASH.into())));
        let digest = format!("example/tool@{HASH}");
        assert_eq!(read(&digest), Ok(ImageReference::Digest(digest.clone())));
        assert!(matches!(read("example/tool:1.2"), Ok(ImageReference::Tag(_))));
        // As short as people write ids, it could be anything.
        assert!(matches!(read(&HASH[..19]), Ok(ImageReference::Tag(_))));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let upper = format!("a@{}", HASH.to_uppercase());
        for text in ["", "@", "a@", "a@sha256:12", &upper, "-a", "/a", "a b", "a?b", "../a", "a//b", "a\n"] {
            assert!(text.parse::<ImageReference>().is_err(), "{text}");
        }
    }
}
