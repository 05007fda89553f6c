//! From a place in a scalar's text to the place in the file.

use std::ops::Range;

use granit_parser::ScalarStyle;

use crate::tree::{Node, Span};

/// Where `range` of `content`, the text of `scalar`, stands in `file`; the whole scalar if the way it is written does not
/// tell (folded lines, rare escapes).
pub(crate) fn within(file: &str, scalar: &Node, content: &str, range: &Range<usize>) -> Span {
    let span = scalar.span;
    let raw = file.get(span.start..span.end).unwrap_or_default();
    let found = match scalar.style {
        Some(ScalarStyle::Literal) => in_literal(raw, content, range),
        Some(ScalarStyle::DoubleQuoted) => in_quotes(raw, range, double_quoted),
        Some(ScalarStyle::SingleQuoted) => in_quotes(raw, range, single_quoted),
        Some(ScalarStyle::Plain) => (raw.trim_end() == content).then(|| range.clone()),
        // Text that is no YAML stands as it is.
        None => (raw == content).then(|| range.clone()),
        Some(ScalarStyle::Folded) => None,
    };
    found.map_or(span, |found| Span { start: span.start + found.start, end: span.start + found.end })
}

/// In a literal block each line of the content is one line of the file, less the indentation. The block begins with the
/// first line that is not empty, past its indentation.
fn in_literal(raw: &str, content: &str, range: &Range<usize>) -> Option<Range<usize>> {
    let before = content.get(..range.start)?;
    let empty_lines = content.len() - content.trim_start_matches('\n').len();
    let number = before.matches('\n').count();
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
    let content_line = content.split('\n').nth(number)?;
    let raw_number = number.checked_sub(empty_lines)?;
    let raw_line_start: usize = raw.split_inclusive('\n').take(raw_number).map(str::len).sum();
    let raw_line = raw.get(raw_line_start..)?.split('\n').next()?.trim_end_matches('\r');
    let indentation = raw_line.strip_suffix(content_line)?.len();
    let start = raw_line_start + indentation + column;
    Some(start..start + range.len())
}

/// Steps through the quoted text; `step` gives how many bytes of the file become how many of the content.
fn in_quotes(raw: &str, range: &Range<usize>, step: fn(&str) -> Option<(usize, usize)>) -> Option<Range<usize>> {
    let (mut at, mut content, mut start) = (1, 0, None);
    loop {
        if content == range.start {
            start = start.or(Some(at));
        }
        if content >= range.end {
            return Some(start?..at);
        }
        let (read, written) = step(raw.get(at..)?)?;
        at += read;
        content += written;
    }
}

fn double_quoted(rest: &str) -> Option<(usize, usize)> {
    match rest.as_bytes() {
        [b'\\', b'n' | b't' | b'r' | b'"' | b'\\' | b'/' | b'0', ..] => Some((2, 1)),
        [b'\\' | b'\n' | b'\r', ..] => None,
        _ => rest.chars().next().map(|c| (c.len_utf8(), c.len_utf8())),
    }
}

fn single_quoted(rest: &str) -> Option<(usize, usize)> {
    match rest.as_bytes() {
        [b'\'', b'\'', ..] => Some((2, 1)),
        [b'\n' | b'\r', ..] => None,
        _ => rest.chars().next().map(|c| (c.len_utf8(), c.len_utf8())),
    }
}

#[cfg(test)]
mod tests {
    use super::within;
    use crate::yaml;

    #[test]
    fn places_lead_back_to_the_file() {
        for file in [
            "a: |\n  one\n\n    two {{ here }}\n",
            "a: |\n\n\n    one\n      two {{ here }}\n",
            "a: |-\r\n  ä {{ here }}",
            "a: \"one\\n\\\"ä\\\" {{ here }}\"",
            "a: 'it''s {{ here }}'",
            "a: it is {{ here }} # comment",
        ] {
            let root = yaml::parse(file).root.expect("valid");
            let node = root.follow("/a").node;
            let content = node.to_value().as_str().expect("text").to_owned();
            let at = content.find("here").expect("there");
            let span = within(file, node, &content, &(at..at + 4));
            assert_eq!(&file[span.start..span.end], "here", "{file}");
        }
    }

    #[test]
    fn what_is_not_simple_is_the_whole() {
        let file = "a: >\n  one\n  {{ here }}\n";
        let root = yaml::parse(file).root.expect("valid");
        let node = root.follow("/a").node;
        assert_eq!(within(file, node, "one {{ here }}\n", &(7..11)), node.span);
    }
}
