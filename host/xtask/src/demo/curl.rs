//! Lines to paste.

use nexus_tests::House;
use serde_json::Value;

use super::progress::{Progress, Shared};

/// Three calls: one that the component answers, one that it hands to the model, one of an operation that stays with it.
pub(super) fn lines(house: &House, shared: &[Shared]) -> String {
    let all: Vec<Progress> = shared.iter().map(|lane| lane.read().clone()).collect();
    let calls = [
        ("A component answers this:", pick(&all, |progress| progress.handled.as_ref())),
        (
            "Here it abstains, and the model answers the same request:",
            pick(&all, |progress| progress.abstained.as_ref()),
        ),
        (
            "This stays with the model; the figures refused its code:",
            pick(&all, |progress| progress.any.as_ref().filter(|_| !progress.standing.compiled())),
        ),
    ];
    let mut blocks = vec![format!("\nThe server is up at {}. Ctrl-C ends it.", house.api.base())];
    blocks.extend(calls.into_iter().map(|(what, call)| match call {
        Some((progress, input)) => format!("# {what}\n{}", curl(house, progress, input)),
        None => format!("# {what} no such input was seen"),
    }));
    blocks.join("\n\n")
}

fn pick<'a>(
    all: &'a [Progress],
    input: impl Fn(&'a Progress) -> Option<&'a Value>,
) -> Option<(&'a Progress, &'a Value)> {
    all.iter().find_map(|progress| Some((progress, input(progress)?)))
}

fn curl(house: &House, progress: &Progress, input: &Value) -> String {
    format!(
        "curl -sS -D - -H 'authorization: Bearer {}' -H 'content-type: application/json' \\\n  -d {} \\\n  {}/v1/apps/{}/operations/{}",
        house.key,
        quoted(&input.to_string()),
        house.api.base(),
        progress.app,
        progress.operation
    )
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let text = r#"{"text": "it's $HOME, `now` \\ \"later\""}"#;
        let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(text))]).output();
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), text);
    }
}
