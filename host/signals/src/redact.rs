//! What must not be in a log line.

use std::{
    borrow::Cow,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    known::KnownValues,
    secrets::{is_secret_name, secret_at},
};

const MASK: &str = "***";

/// Masks secrets in text: keys of Nexus (`nxs_…`), tokens that other services mark as theirs (`sk-…`, `ghp_…`, a JWT),
/// bearer tokens, passwords in addresses, private keys, what follows a name as `api_key` or `Authorization`, and values
/// that are known to be secret. All clones know the same values, also those that one of them learns later.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<KnownValues>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Redactor").field("known", &known.len()).finish()
    }
}

impl Redactor {
    /// What stands in the place of a secret.
    pub const MASK: &str = MASK;

    /// Whether what has this name is a secret, as `password` or `X-Api-Key`.
    pub fn names_a_secret(name: &str) -> bool {
        is_secret_name(name)
    }

    /// One that knows these values.
    pub fn new<V: AsRef<str>>(values: impl IntoIterator<Item = V>) -> Self {
        let redactor = Self::default();
        for value in values {
            redactor.learn(value.as_ref());
        }
        redactor
    }

    /// Masks this value from now on: plain, without blanks around it, and as it stands in JSON and in Rust's debug output.
    ///
    /// A value under 8 bytes is passed over: it would mask ordinary text. The newest 16,384 are known, a value in several
    /// of these forms counting as often. No copy of it is kept; it is recognised by keyed hashes.
    pub fn learn(&self, value: &str) {
        if self.known.read().unwrap_or_else(PoisonError::into_inner).knows(value.as_bytes()) {
            return;
        }
        let (json, debug) = (serde_json::Value::from(value).to_string(), format!("{value:?}"));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for form in [value, value.trim(), inner(&json), inner(&debug)] {
            known.learn(form.as_bytes());
        }
    }

    /// The text with each secret replaced by `***`; what tells the kind of a secret stays.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = self.mask_known(text).map_or(Cow::Borrowed(text), Cow::Owned);
        match mask_tokens(&text) {
            Some(masked) => Cow::Owned(masked),
            None => text,
        }
    }

    /// Masks known values; `None` if there is none.
    fn mask_known(&self, text: &str) -> Option<String> {
        let places = self.known.read().unwrap_or_else(PoisonError::into_inner).places(text.as_bytes());
        let (mut masked, mut copied) = (String::new(), 0);
        for place in &places {
            masked.push_str(&text[copied..text.floor_char_boundary(place.start)]);
            masked.push_str(MASK);
            copied = text.ceil_char_boundary(place.end);
        }
        (!places.is_empty()).then(|| masked + &text[copied..])
    }
}

/// What stands between the quotes.
fn inner(quoted: &str) -> &str {
    &quoted[1..quoted.len() - 1]
}

/// Masks what looks like a secret; `None` if nothing does.
fn mask_tokens(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut masked = String::new();
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        if let Some((start, end)) = secret_at(bytes, at) {
            masked.push_str(&text[copied..start]);
            masked.push_str(MASK);
            (copied, at) = (end, end);
        } else {
            at += 1;
        }
    }
    (copied > 0).then(|| masked + &text[copied..])
}

/// Writes control characters, and characters that change the direction of text, as escapes that JSON knows too, so that
/// one event stays one line and a terminal shows what is there. A line end at the very end stays; with `colour`, so do
/// colour sequences.
pub fn escape_controls(line: &str, colour: bool) -> Cow<'_, str> {
    let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
    if !body.contains(is_unsafe) {
        return Cow::Borrowed(line);
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        let sequence = if colour { colour_sequence(rest) } else { 0 };
        if sequence > 0 {
            escaped.push_str(&rest[..sequence]);
            rest = &rest[sequence..];
            continue;
        }
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if is_unsafe(c) => escaped.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            c => escaped.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    escaped.push_str(end);
    Cow::Owned(escaped)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length of the colour sequence (`ESC [ … m`) that the text begins with; 0 if it begins with none.
fn colour_sequence(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else { return 0 };
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters.as_bytes().get(length) == Some(&b'm') { 2 + length + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Redactor, escape_controls};

    #[test]
    fn tokens_are_masked() {
        let redactor = Redactor::new(["hunter2-hunter2".to_owned(), "a\"quoted\"one".to_owned(), "short".to_owned()]);
        for (text, expected) in [
            ("key nxs_0aZ-9_x end", "key nxs_*** end"),
            ("k=nxs_1,nxs_2", "k=nxs_***,nxs_***"),
            ("sk-proj-abcdEFGH1234 is bad", "sk-*** is bad"),
            (r#"{"said":"sk-ant-12345678"}"#, r#"{"said":"sk-***"}"#),
            ("Authorization: Bearer abc.def~+/=", "Authorization: Bearer ***"),
            ("authorization: bEARER   x", "authorization: bEARER   ***"),
            ("password hunter2-hunter2!", "password ***!"),
            (r#"{"p":"a\"quoted\"one"}"#, r#"{"p":"***"}"#),
            ("a risk-assessment-report, task-12345678", "a risk-assessment-report, task-12345678"),
            ("the bearers' sk-short", "the bearers' sk-short"),
            ("\u{1b}[1;3msk-abcdefgh \u{1b}[0mBearer x", "\u{1b}[1;3msk-*** \u{1b}[0mBearer ***"),
            (r"a\nsk-abcdefgh \u001bsk-abcdefgh\nBearer x", r"a\nsk-*** \u001bsk-***\nBearer ***"),
            ("short ünïcode nxs_", "short ünïcode nxs_"),
            ("ghp_0123456789abcdef0123 and AKIAIOSFODNN7EXAMPLE", "ghp_*** and AKIA***"),
            ("AIzaSyA-0123456789_abcdefgh-XYZ", "AIza***"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl!", "jwt eyJ***!"),
            ("redis://user:pass%40word@db:6379/0?x=1", "redis://user:***@db:6379/0?x=1"),
            ("http://127.0.0.1:80/a:b@c", "http://127.0.0.1:80/a:b@c"),
            ("X-Api-Key: abc, Authorization: Basic dXNlcjpwdw==", "X-Api-Key: ***, Authorization: Basic ***"),
            (
                r#"{"password":"a b","tokens":5,\"client_secret\":\"q\"}"#,
                r#"{"password":"***","tokens":5,\"client_secret\":\"***\"}"#,
            ),
            ("GET /v1?api_key=abc&x=1 passwordless: yes", "GET /v1?api_key=***&x=1 passwordless: yes"),
            (
                r"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nx",
                r"-----BEGIN RSA PRIVATE KEY-----***\nx",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "-----BEGIN PRIVATE KEY-----***"),
        ] {
            assert_eq!(redactor.redact(text), expected);
        }
    }

    #[test]
    fn what_is_learnt_is_masked_by_all_that_share_it() {
        let redactor = Redactor::default();
        let shared = redactor.clone();
        assert_eq!(shared.redact("it is correct horse battery"), "it is correct horse battery");
        for value in [" correct horse battery\n", "new\nline-\u{1b}-escape", "seven77", "horse battery staple"] {
            redactor.learn(value);
        }
        for (text, expected) in [
            ("it is correct horse battery.", "it is ***."),
            ("üß→correct horse battery staple←", "üß→***←"),
            ("new\nline-\u{1b}-escape", "***"),
            (r"json new\nline-\u001b-escape", "json ***"),
            (r"debug new\nline-\u{1b}-escape", "debug ***"),
            ("seven77 is text", "seven77 is text"),
            ("correct horse", "correct horse"),
        ] {
            assert_eq!(shared.redact(text), expected);
        }
        let shown = format!("{redactor:?}");
        assert!(!shown.contains("horse") && shown.contains("known"), "{shown}");
    }

    #[test]
    fn lines_stay_lines() {
        for (line, colour, expected) in [
            ("plain\n", false, "plain\n"),
            ("a\nFAKE INFO line\r\n", false, "a\\nFAKE INFO line\\r\n"),
            ("\u{1b}[31mred\u{1b}[0m\n", true, "\u{1b}[31mred\u{1b}[0m\n"),
            ("\u{1b}[31mred\n", false, "\\u001b[31mred\n"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}\n", true, "\\u001b[2J\\u001b]0;title\\u0007\n"),
            ("\u{9b}2J \u{202e}evil\n", true, "\\u009b2J \\u202eevil\n"),
        ] {
            assert_eq!(escape_controls(line, colour), expected);
        }
    }

    proptest! {
        #[test]
        fn no_key_gets_through(before in ".*", key in "[A-Za-z0-9_-]{8,60}", after in "[^A-Za-z0-9_-].*") {
            let line = format!("{before}nxs_{key}{after}");
            let redacted = Redactor::default().redact(&line).into_owned();
            let leaked = format!("nxs_{key}");
            prop_assert!(!redacted.contains(&leaked), "{redacted}");
        }

        #[test]
        fn no_control_character_gets_through(line in "(.|\n|\r|\u{1b})*") {
            let escaped = escape_controls(&line, false).into_owned();
            let body = escaped.strip_suffix('\n').unwrap_or(&escaped);
            prop_assert!(!body.chars().any(char::is_control));
        }
    }
}
