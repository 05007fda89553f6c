//! One spelling for each JSON value.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical form of a JSON value by RFC 8785 (JCS): sorted keys, no white space, numbers as ECMAScript writes them.
/// Two values agree exactly when their canonical forms are equal; `1` and `1.0` do.
pub fn canonical_json(value: &Value) -> String {
    // A `Value` has string keys and finite numbers only, so the library's errors cannot occur; plain JSON is still JSON.
    serde_json_canonicalizer::to_string(value).unwrap_or_else(|_| value.to_string())
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canonical_json;

    #[test]
    fn spelling_does_not_matter() {
        let one: serde_json::Value = serde_json::from_str(r#"{"b": 1.0, "a": [ "x" ]}"#).unwrap();
        assert_eq!(canonical_json(&one), canonical_json(&json!({"a": ["x"], "b": 1})));
        assert_eq!(canonical_json(&one), r#"{"a":["x"],"b":1}"#);
    }
}
