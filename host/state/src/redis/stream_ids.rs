//! Ids of stream entries: Redis's `1700000000000-7` with its numbers filled up, so that ids sort as text.

/// Digits of the milliseconds and of the number within a millisecond.
const MILLIS: usize = 13;
const NUMBER: usize = 20;

/// The id as Nexus shows it.
pub(super) fn shown(id: &str) -> String {
    let (millis, number) = id.split_once('-').unwrap_or((id, "0"));
    format!("{millis:0>MILLIS$}-{number:0>NUMBER$}")
}

/// The id as Redis knows it; `None` for what is no id.
pub(super) fn known(id: &str) -> Option<String> {
    let (millis, number) = id.split_once('-')?;
    Some(format!("{}-{}", millis.parse::<u64>().ok()?, number.parse::<u64>().ok()?))
}

/// Where a range that leaves `after` out begins. What is no id comes before all ids or after them, as it sorts.
pub(super) fn after(after: Option<&str>) -> Option<String> {
    match after {
        None => Some("-".to_owned()),
        Some(id) => match known(id) {
            Some(id) => Some(format!("({id}")),
            None if id.as_bytes().first().is_some_and(|first| *first > b'9') => None,
            None => Some("-".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{after, known, shown};

    #[test]
    fn ids_go_there_and_back_and_sort_as_text() {
        let ids = ["0-1", "999-5", "1700000000000-0", "1700000000000-9", "1700000000000-10", "1700000000001-0"];
        assert!(ids.map(shown).is_sorted_by(|a, b| a < b));
        for id in ids {
            assert_eq!(known(&shown(id)).as_deref(), Some(id));
        }
        assert_eq!(after(Some("1-2")).as_deref(), Some("(1-2"));
        assert_eq!(
            (after(None).as_deref(), after(Some("")).as_deref(), after(Some("~"))),
            (Some("-"), Some("-"), None)
        );
    }
}
