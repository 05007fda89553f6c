//! What the caller may have meant.

/// The candidate that is nearest to `name`, if one is near enough to be a likely slip.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    // A distance over a third of the name is another name, not a slip.
    let bound = name.chars().count().div_ceil(3);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
