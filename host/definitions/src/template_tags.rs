//! Finds the tags of a template, the way minijinja's lexer does.
//!
//! minijinja bounds how deep expressions nest, but not how long they are chained (`a.b.c…`, `a + b + …`, `elif … elif …`),
//! and handles chains by recursion: a long one would overflow the stack and end the process. So a template is measured
//! before it is compiled.

use std::ops::Range;

use crate::limits;

/// The inside of one `{{ }}` or `{% %}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) inside: Range<usize>,
    /// `{% %}`.
    block: bool,
    /// Bytes outside of strings and white space.
    code: usize,
    /// Where each `|` outside of strings is.
    pub(crate) pipes: Vec<usize>,
}

/// What is too much about a template, and where.
pub(crate) fn excess(content: &str) -> Option<(Range<usize>, String)> {
    if content.len() > limits::TEMPLATE_BYTES {
        let why = format!("the template has {} bytes, more than {}", content.len(), limits::TEMPLATE_BYTES);
        return Some((0..content.len(), why));
    }
    let mut blocks = 0;
    for tag in tags(content) {
        blocks += usize::from(tag.block);
        if tag.code > limits::TAG_BYTES {
            return Some((tag.inside, format!("a tag holds more than {} bytes besides texts", limits::TAG_BYTES)));
        }
        if blocks > limits::BLOCK_TAGS {
            return Some((tag.inside, format!("the template has more than {} block tags", limits::BLOCK_TAGS)));
        }
    }
    None
}

/// The tags in order, without comments and without what is raw.
pub(crate) fn tags(content: &str) -> Vec<Tag> {
    let bytes = content.as_bytes();
    let (mut found, mut at, mut balance) = (Vec::new(), 0, 0);
    while let Some((open, kind)) = next_open(bytes, at) {
        let inside = open + 2 + usize::from(matches!(bytes.get(open + 2), Some(b'-' | b'+')));
        if kind == b'#' {
            at = content[inside..].find("#}").map_or(bytes.len(), |end| inside + end + 2);
            continue;
        }
        let raw = if kind == b'%' { bare_tag(&content[inside..], "raw") } else { None };
        if let Some(length) = raw {
            at = end_of_raw(content, inside + length);
            continue;
        }
        let tag = scan(bytes, inside, kind == b'%', &mut balance);
        at = tag.inside.end + 2;
        found.push(tag);
    }
    found
}

fn next_open(bytes: &[u8], from: usize) -> Option<(usize, u8)> {
    let pairs = bytes.get(from..)?.windows(2);
    pairs.zip(from..).find(|(pair, _)| matches!(pair, [b'{', b'{' | b'%' | b'#'])).map(|(pair, at)| (at, pair[1]))
}

/// The length of `name %}`, if that is what `text` begins with.
fn bare_tag(text: &str, name: &str) -> Option<usize> {
    let rest = text.trim_ascii_start().strip_prefix(name)?.trim_ascii_start();
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

fn end_of_raw(content: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(open) = content[at..].find("{%") {
        at += open + 2;
        let rest = &content[at..];
        let name = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        if let Some(length) = bare_tag(name, "endraw") {
            return at + (rest.len() - name.len()) + length;
        }
    }
    content.len()
}

/// Reads to the end of a tag. Brackets that are open go on over the tag's end, as they do in minijinja.
fn scan(bytes: &[u8], start: usize, block: bool, balance: &mut isize) -> Tag {
    let close: &[u8] = if block { b"%}" } else { b"}}" };
    let mut tag = Tag { inside: start..bytes.len(), block, code: 0, pipes: Vec::new() };
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        if *balance == 0 && bytes[at..].starts_with(close) {
            tag.inside.end = at;
            break;
        }
        match byte {
            b'"' | b'\'' => at = end_of_string(bytes, at),
            b'(' | b'[' | b'{' => *balance += 1,
            b')' | b']' | b'}' => *balance -= 1,
            b'|' => tag.pipes.push(at),
            _ => {}
        }
        tag.code += usize::from(!byte.is_ascii_whitespace());
        at += 1;
    }
    tag
}

/// Where the closing quote of the string is that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == bytes[start] => return at,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::{excess, tags};
    use crate::limits;

    fn insides(content: &str) -> Vec<&str> {
        tags(content).into_iter().map(|tag| &content[tag.inside]).collect()
    }

    #[test]
    fn tags_end_where_minijinja_ends_them() {
        assert_eq!(insides("a {{ b }} { c } {%- if d -%}"), [" b ", " if d -"]);
        assert_eq!(insides(r#"{{ "}}" ~ '\'}}' }} {{ x }}"#), [r#" "}}" ~ '\'}}' "#, " x "]);
        assert_eq!(insides("{{ {'a': {'b': 1}} }}{{ c }}"), [" {'a': {'b': 1}} ", " c "]);
        assert_eq!(insides("{# {{ a }} #}{% raw %}{{ b ' }}{% endraw %}{{ c }}"), [" c "]);
        assert_eq!(insides("{%- raw -%}{{ b }}{% endraws %}{%- endraw -%}{{ c }}"), [" c "]);
        assert_eq!(insides("{{ open"), [" open"]);
        assert_eq!(insides("{"), [""; 0]);
    }

    #[test]
    fn chains_are_bounded_wherever_they_hide() {
        let chain = ".a".repeat(limits::TAG_BYTES);
        for before in ["", "{% raw %}{{ ' {% endraw %}", "{{ '}}' }}", "{# ' #}", "{{ {'a': {}}['}}'] }}"] {
            assert!(excess(&format!("{before}{{{{ a{chain} }}}}")).is_some(), "{before}");
        }
        assert!(excess(&"{% elif a %}".repeat(limits::BLOCK_TAGS + 1)).is_some());
        assert!(excess(&format!("{{{{ '{chain}' }}}} {chain}")).is_none());
    }
}
