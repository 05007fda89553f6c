//! What a key looks like: `nxs_` + id + `_` + 256 random bits + checksum.

use nexus_model::sha256_hex;
use rand::RngCore;

const PREFIX: &str = "nxs_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;

/// A fresh id.
pub(super) fn new_id() -> String {
    random::<{ ID_DIGITS / 2 }>()
}

/// A fresh secret.
pub(super) fn new_secret() -> String {
    random::<{ SECRET_DIGITS / 2 }>()
}

/// The key as it is sent.
pub(super) fn written(id: &str, secret: &str) -> String {
    format!("{PREFIX}{id}_{secret}{}", checksum(id, secret))
}

/// The id in what was presented as a key, good or not; `None` if it has no key's form.
pub fn presented_key_id(presented: &str) -> Option<&str> {
    split(presented).map(|(id, _)| id)
}

/// Id and secret of a key whose form and checksum are right. The checksum finds slips of a copying hand, and lets
/// scanners of public code tell keys from noise; it protects nothing.
pub(super) fn split(presented: &str) -> Option<(&str, &str)> {
    let rest = presented.strip_prefix(PREFIX)?;
    let well_formed = rest.len() == ID_DIGITS + 1 + SECRET_DIGITS + CHECKSUM_DIGITS
        && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'_'));
    let (id, rest) = well_formed.then(|| rest.split_once('_')).flatten()?;
    let (secret, sum) = (id.len() == ID_DIGITS).then(|| rest.split_at(SECRET_DIGITS))?;
    (sum == checksum(id, secret)).then_some((id, secret))
}

fn checksum(id: &str, secret: &str) -> String {
    let mut sum = sha256_hex(format!("{id}_{secret}"));
    sum.truncate(CHECKSUM_DIGITS);
    sum
}

/// Two digits for each byte.
fn random<const BYTES: usize>() -> String {
    let mut random = [0; BYTES];
    rand::rng().fill_bytes(&mut random);
    hex::encode(random)
}
