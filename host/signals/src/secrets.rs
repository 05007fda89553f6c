//! What looks like a secret, and what is named like one.

/// Fields of these names are masked whole, whatever stands in them. Lower case, `-` written `_`, without `x_`.
const NAMES: [&str; 13] = [
    "access_token",
    "api_key",
    "apikey",
    "authorization",
    "client_secret",
    "cookie",
    "master_key",
    "passwd",
    "password",
    "private_key",
    "refresh_token",
    "secret",
    "set_cookie",
];

/// How services mark their tokens, and how many characters follow at the least. A mark within a word is none.
const MARKS: [(&[u8], usize); 12] = [
    (b"AIza", 20),
    (b"AKIA", 12),
    (b"eyJ", 20),
    (b"ghp_", 16),
    (b"gho_", 16),
    (b"ghs_", 16),
    (b"github_pat_", 16),
    (b"glpat-", 16),
    (b"gsk_", 16),
    (b"hf_", 16),
    (b"sk-", 8),
    (b"xoxb-", 8),
];

const KEY_BEGIN: &[u8] = b"-----BEGIN ";
const KEY_WORD: &[u8] = b"PRIVATE KEY-----";
const KEY_END: &[u8] = b"-----END ";

/// Whether what has this name is a secret, as `password` or `X-Api-Key`.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let name = name.strip_prefix("x_").unwrap_or(&name);
    name == "token" || NAMES.contains(&name)
}

/// Where the secret of a token that begins at `at` begins and ends. All bounds lie beside ASCII characters.
pub(crate) fn secret_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = &bytes[at..];
    match rest.first()? {
        b'n' if rest.starts_with(b"nxs_") => span(bytes, at + 4, 1, is_key_byte),
        b':' if rest.starts_with(b"://") => password(bytes, at + 3),
        b'-' if rest.starts_with(KEY_BEGIN) => private_key(bytes, at),
        b'b' | b'B' if rest.len() > 6 && rest[..6].eq_ignore_ascii_case(b"bearer") => {
            let blanks = rest[6..].iter().take_while(|byte| **byte == b' ').count();
            if blanks == 0 { None } else { span(bytes, at + 6 + blanks, 1, is_token_byte) }
        }
        first if first.is_ascii_alphabetic() && !ends_in_word(&bytes[..at]) => {
            marked(bytes, at).or_else(|| named(bytes, at))
        }
        _ => None,
    }
}

/// So many bytes from `start` on, if they are at least `least`.
fn span(bytes: &[u8], start: usize, least: usize, allowed: fn(u8) -> bool) -> Option<(usize, usize)> {
    let length = bytes.get(start..)?.iter().take_while(|byte| allowed(**byte)).count();
    (length >= least).then_some((start, start + length))
}

fn marked(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mark, least) = MARKS.iter().find(|(mark, _)| bytes[at..].starts_with(mark))?;
    let allowed = if *mark == b"eyJ" { is_token_byte } else { is_key_byte };
    span(bytes, at + mark.len(), *least, allowed)
}

/// The value after a secret name: `name: value`, `name=value`, `"name":"value"`, also with the quotes escaped.
fn named(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = &bytes[at..];
    let length = rest.iter().take_while(|byte| is_key_byte(**byte)).count();
    let name = std::str::from_utf8(rest.get(..length)?).ok().filter(|name| (6..=20).contains(&name.len()))?;
    if name.eq_ignore_ascii_case("token") || !is_secret_name(name) {
        return None;
    }
    let skip = |from: usize, any: &[u8]| from + bytes[from..].iter().take_while(|byte| any.contains(byte)).count();
    let sign = skip(at + length, b"\\\"' ");
    if !matches!(bytes.get(sign), Some(b':' | b'=')) {
        return None;
    }
    let mut start = skip(sign + 1, b" ");
    let quote = skip(start, b"\\");
    let quoted = matches!(bytes.get(quote), Some(b'"' | b'\''));
    if quoted {
        start = quote + 1;
    }
    for scheme in [&b"basic "[..], b"bearer "] {
        if bytes[start..].get(..scheme.len()).is_some_and(|text| text.eq_ignore_ascii_case(scheme)) {
            start += scheme.len();
        }
    }
    let in_quotes: fn(u8) -> bool = |byte| !matches!(byte, b'"' | b'\'' | b'\\' | b'\n');
    let bare: fn(u8) -> bool = |byte| !byte.is_ascii_whitespace() && !b"\"',;&)}]\\".contains(&byte);
    span(bytes, start, 1, if quoted { in_quotes } else { bare }).filter(|(start, end)| &bytes[*start..*end] != b"***")
}

/// The password of `user:password@host`.
fn password(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let within: fn(u8) -> bool = |byte| byte.is_ascii_graphic() && !b"/?#\"'<>\\".contains(&byte);
    let (_, end) = span(bytes, start, 3, within)?;
    let at_sign = start + bytes[start..end].iter().rposition(|byte| *byte == b'@')?;
    let colon = start + bytes[start..at_sign].iter().position(|byte| *byte == b':')?;
    (colon + 1 < at_sign).then_some((colon + 1, at_sign))
}

/// All of a private key after its first line, or to the end if it has none.
fn private_key(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let find = |from: usize, what: &[u8]| bytes[from..].windows(what.len()).position(|part| part == what);
    let word = find(at, KEY_WORD).filter(|distance| *distance < 40)?;
    let start = at + word + KEY_WORD.len();
    let end = find(start, KEY_END).and_then(|distance| {
        let last = start + distance;
        Some(last + find(last, KEY_WORD)? + KEY_WORD.len())
    });
    Some((start, end.unwrap_or(bytes.len())))
}

/// Whether text ends within a word, so that what follows is a part of it (`task-…`). The last letter of a colour sequence
/// or of an escape (`\n`, `\u001b`) is none.
fn ends_in_word(before: &[u8]) -> bool {
    let Some((last, rest)) = before.split_last() else { return false };
    let parameters = rest.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
    let colour = *last == b'm' && rest[..rest.len() - parameters].ends_with(b"\x1b[");
    let escape = rest.ends_with(b"\\") || (before.len() >= 6 && before[before.len() - 6..].starts_with(b"\\u"));
    last.is_ascii_alphanumeric() && !colour && !escape
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The characters of a bearer token (RFC 6750, `b64token`), and of a JWT.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}
