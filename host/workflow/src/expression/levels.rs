//! How deep an expression takes the parser, which recurses.

/// Levels that an expression may have: what is inside each other, and what an operator has on its right.
pub(super) const LEVELS: usize = 64;

/// Words after which the parser goes one deeper.
const WORDS: [&str; 10] = ["if", "elif", "try", "def", "reduce", "foreach", "label", "as", "and", "or"];

/// A bracket or a string that is open.
struct Open {
    closes: char,
    operators: usize,
}

/// The levels of a text: at its deepest place, the brackets and strings that are open there and the operators before it
/// in each of them. It never says too few for what the parser would go through.
pub(super) fn levels(text: &str) -> usize {
    let mut open = vec![Open { closes: '\0', operators: 0 }];
    let (mut deepest, mut depth) = (0, 0_usize);
    let (mut word, mut operator) = (String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let Some(inner) = open.last_mut() else { return usize::MAX };
        if inner.closes == '"' {
            match c {
                '\\' if characters.next() == Some('(') => {
                    open.push(Open { closes: ')', operators: 0 });
                    depth += 1;
                }
                '"' => depth = depth.saturating_sub(close(&mut open)),
                _ => (),
            }
            continue;
        }
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
            operator = false;
            continue;
        }
        if WORDS.contains(&word.as_str()) {
            inner.operators += 1;
            depth += 1;
        }
        word.clear();
        let closes = match c {
            '(' => Some(')'),
            '[' => Some(']'),
            '{' => Some('}'),
            '"' => Some('"'),
            _ => None,
        };
        let counted = "|,-+*/%=<>!?".contains(c);
        if let Some(closes) = closes {
            open.push(Open { closes, operators: 0 });
            depth += 1;
        } else if c == inner.closes {
            depth = depth.saturating_sub(close(&mut open));
        } else if (c == ',' && inner.closes == '}') || c == ';' {
            depth = depth.saturating_sub(inner.operators);
            inner.operators = 0;
        } else if counted && (!operator || c == '-') {
            inner.operators += 1;
            depth += 1;
        }
        operator = counted;
        deepest = deepest.max(depth);
    }
    deepest
}

/// Closes the innermost; the levels that it had.
fn close(open: &mut Vec<Open>) -> usize {
    open.pop().map_or(0, |closed| closed.operators + 1)
}

#[cfg(test)]
mod tests {
    use super::levels;

    #[test]
    fn levels_are_what_is_inside_and_what_is_to_the_right() {
        assert_eq!(levels(".a"), 0);
        assert_eq!(levels("((1))"), 2);
        assert_eq!(levels("1 + 2 + 3"), 2);
        assert_eq!(levels("[1 + 2] + [3 + 4]"), 3);
        assert_eq!(levels("{a: .a, b: .b, c: (.c + 1)}"), 3);
        assert_eq!(levels("\"a, b - c | d\""), 1);
        assert_eq!(levels("\"a\\(1 + 2)b\" + 1"), 3);
        assert_eq!(levels("if . then 1 elif . then 2 else 3 end"), 2);
        assert_eq!(levels("---1"), 3);
        assert_eq!(levels("f(1; 2; 3 + 4)"), 2);
    }
}
