//! Which models are asked, and in which order. Pure.

use std::{collections::BTreeMap, time::Duration};

use crate::settings::ModelSettings;

/// The most models that one request may be passed on over, the one that it names included.
pub const MAX_CHAIN: usize = 8;

type Models = BTreeMap<String, ModelSettings>;

/// What is wrong with the fall-backs of models, each with the setting's name: an alias that is not there or is there twice,
/// a model that falls back to itself, over others or not, and too long a chain.
pub fn fallback_faults(models: &Models) -> Vec<String> {
    let mut faults = Vec::new();
    for (alias, settings) in models {
        for (place, next) in settings.fallback.iter().enumerate() {
            let setting = format!("`models.{alias}.fallback[{place}]`");
            if !models.contains_key(next) {
                faults.push(format!("{setting}: there is no model `{next}`"));
            } else if settings.fallback[..place].contains(next) {
                faults.push(format!("{setting}: `{next}` is there twice"));
            } else if let Some(way) = way(models, next, alias) {
                faults.push(format!("{setting}: the models fall back in a circle: {alias} → {}", way.join(" → ")));
            }
        }
    }
    // Without circles, chains end.
    if faults.is_empty() {
        let long = models.keys().filter(|alias| chain(models, alias).len() > MAX_CHAIN);
        faults.extend(long.map(|alias| format!("`models.{alias}.fallback`: more than {MAX_CHAIN} models in a chain")));
    }
    faults
}

/// The models to ask for an alias: itself, then each of its fall-backs with those of its own; each once.
pub(crate) fn chain(models: &Models, alias: &str) -> Vec<String> {
    let mut chain = Vec::new();
    add(models, alias, &mut chain);
    chain
}

fn add(models: &Models, alias: &str, chain: &mut Vec<String>) {
    // One more than may be, so that too long a chain is seen.
    if chain.len() > MAX_CHAIN || chain.iter().any(|other| other == alias) {
        return;
    }
    let Some(settings) = models.get(alias) else { return };
    chain.push(alias.to_owned());
    for next in &settings.fallback {
        add(models, next, chain);
    }
}

/// The aliases from one model to another, if the first falls back to the second.
fn way<'a>(models: &'a Models, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut seen = vec![from];
    let mut open = vec![vec![from]];
    while let Some(path) = open.pop() {
        let last = *path.last()?;
        if last == to {
            return Some(path);
        }
        for next in models.get(last).into_iter().flat_map(|settings| &settings.fallback) {
            if next == to || !seen.contains(&next.as_str()) {
                seen.push(next);
                open.push(path.iter().copied().chain([next.as_str()]).collect());
            }
        }
    }
    None
}

/// How long the next model may take when so many are left to ask, itself included: what is left is shared evenly, so that
/// a model that hangs leaves time for the others.
pub(crate) fn share(left: Duration, models: usize) -> Duration {
    left / u32::try_from(models).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{Models, chain, fallback_faults, share};

    fn models(fallbacks: &[(&str, &[&str])]) -> Models {
        let model = |fallback: &[&str]| serde_json::from_value(json!({ "model": "m", "fallback": fallback })).unwrap();
        fallbacks.iter().map(|(alias, fallback)| ((*alias).to_owned(), model(fallback))).collect()
    }

    #[test]
    fn a_chain_is_followed_and_each_is_asked_once() {
        let models = models(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]);
        assert_eq!(fallback_faults(&models), Vec::<String>::new());
        assert_eq!(chain(&models, "a"), ["a", "b", "d", "c"]);
        assert_eq!(chain(&models, "d"), ["d"]);
        assert_eq!(chain(&models, "x"), Vec::<String>::new());
    }

    #[test]
    fn mistakes_name_their_place() {
        for (fallbacks, expected) in [
            (&[("a", &["a"][..])][..], "`models.a.fallback[0]`: the models fall back in a circle: a → a"),
            (
                &[("a", &["b"]), ("b", &["c"]), ("c", &["a"])],
                "`models.a.fallback[0]`: the models fall back in a circle: a → b → c → a",
            ),
            (&[("a", &["b", "b"]), ("b", &[])], "`models.a.fallback[1]`: `b` is there twice"),
            (&[("a", &["x"])], "`models.a.fallback[0]`: there is no model `x`"),
        ] {
            assert_eq!(fallback_faults(&models(fallbacks))[0], expected);
        }
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let long: Vec<(&str, Vec<&str>)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (&**name, names.get(n + 1).map(|next| &**next).into_iter().collect()))
            .collect();
        let long: Vec<(&str, &[&str])> = long.iter().map(|(alias, next)| (*alias, &**next)).collect();
        assert_eq!(
            fallback_faults(&models(&long)),
            [
                "`models.0.fallback`: more than 8 models in a chain",
                "`models.1.fallback`: more than 8 models in a chain",
            ]
        );
    }

    #[test]
    fn what_is_left_is_shared() {
        assert_eq!(share(Duration::from_secs(9), 3), Duration::from_secs(3));
        assert_eq!(share(Duration::from_secs(9), 1), Duration::from_secs(9));
    }
}
