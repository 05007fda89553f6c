//! The name that was probably meant.

/// The candidate with the smallest edit distance (Damerau–Levenshtein, optimal string alignment), if it is near enough:
/// at most a third of the name's characters differ, at least one may, at most four. The first of equals wins. Names over 200 bytes have none.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    let allowed = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|c| c.len() <= LONGEST && c.len().abs_diff(name.len()) <= 4 * allowed)
        .map(|c| (strsim::osa_distance(&name.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= allowed && *c != name)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c.to_owned())
}

/// "`a`, `b` or `c`"; the first dozen of many.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let names: Vec<String> = names.into_iter().map(crate::fault::quoted).collect();
    match names.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] if names.len() <= MOST => format!("{} or {last}", first.join(", ")),
        _ => format!("{} or {} more", names[..MOST].join(", "), names.len() - MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::{listed, nearest};

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["input", "output", "prompt", "max_tokens"];
        assert_eq!(nearest("promt", names).as_deref(), Some("prompt"));
        assert_eq!(nearest("maxTokens", names).as_deref(), Some("max_tokens"));
        assert_eq!(nearest("Input", names).as_deref(), Some("input"));
        assert_eq!(nearest("workflow", names), None);
        assert_eq!(nearest("", names), None);
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
