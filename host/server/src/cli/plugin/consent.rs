//! Asks whether a plugin may be granted more.

use std::io::{IsTerminal, stdin};

use super::super::output::Output;
use crate::{Problem, ProblemMore};

/// Shows in what a plugin would be more than it was, and asks, where there is a person to ask.
pub(super) fn given(problem: &Problem, output: Output) -> bool {
    if let Some(more) = &problem.more {
        output.note(&shown(more));
    }
    if !output.is_for_people() || !stdin().is_terminal() {
        output.note("Nobody is here to be asked: --yes grants it.");
        return false;
    }
    output.note("Grant it? [y/N]");
    let mut answer = String::new();
    stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn shown(more: &ProblemMore) -> String {
    let grants = more.widened.iter().fold(String::new(), |grants, line| grants + "\n  + " + line);
    let wit = more.wit_diff.as_ref().map(|diff| format!("\nIts world changes:\n{diff}")).unwrap_or_default();
    format!("The plugin would be granted more than it was:{grants}{wit}")
}
