//! Documents cut into passages that fit on a screen.

/// The longest passage, in bytes; a longer paragraph is cut at a line or, where there is none, at a character.
const LONGEST: usize = 1_200;

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    /// The line it begins on, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// Paragraphs, each with the heading before it if that fits.
pub(super) fn passages(document: &str) -> Vec<Passage> {
    let mut found: Vec<Passage> = Vec::new();
    let mut open: Option<Passage> = None;
    for (number, line) in document.lines().enumerate() {
        let blank = line.trim().is_empty();
        let heading = line.starts_with('#');
        let full = open.as_ref().is_some_and(|passage| passage.text.len() + line.len() > LONGEST);
        let only_heading = open.as_ref().is_some_and(|passage| passage.text.lines().all(|line| line.starts_with('#')));
        if full || heading || (blank && !only_heading) {
            found.extend(open.take());
        }
        if blank {
            continue;
        }
        for (part, text) in pieces(line).into_iter().enumerate() {
            match &mut open {
                Some(passage) if part == 0 => {
                    passage.text.push('\n');
                    passage.text.push_str(text);
                }
                _ => found.extend(open.replace(Passage { line: number + 1, text: text.to_owned() })),
            }
        }
    }
    found.extend(open);
    found
}

fn pieces(mut line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while line.len() > LONGEST {
        let end = (1..=LONGEST).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(line.len());
        let (piece, rest) = line.split_at(end);
        pieces.push(piece);
        line = rest;
    }
    pieces.push(line);
    pieces
}

#[cfg(test)]
mod tests {
    use super::passages;

    #[test]
    fn paragraphs_keep_their_heading_and_their_line() {
        let found = passages("# Prices\n\nTape costs 2 EUR.\nBoxes cost 5.\n\nNothing else.\n# Hours\nNine to five.\n");
        let told: Vec<_> = found.iter().map(|passage| (passage.line, passage.text.as_str())).collect();
        let first = "# Prices\nTape costs 2 EUR.\nBoxes cost 5.";
        assert_eq!(told, [(1, first), (6, "Nothing else."), (7, "# Hours\nNine to five.")]);
        assert!(passages("\n\n").is_empty());
    }

    #[test]
    fn nothing_is_longer_than_it_may_be_and_nothing_is_lost() {
        let line = "ä".repeat(5_000);
        let found = passages(&format!("{line}\n{line}\n"));
        assert!(found.iter().all(|passage| passage.text.len() <= 1_200));
        let all: String = found.iter().map(|passage| passage.text.replace('\n', "")).collect();
        assert_eq!(all.chars().count(), 10_000);
    }
}
