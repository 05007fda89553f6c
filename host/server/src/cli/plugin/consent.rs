//! In what a plugin is other than it was, and whether it may be granted more.

use std::io::{IsTerminal, stdin};

use nexus_core::{text_diff, widened};

use super::super::output::Output;
use crate::{PluginView, Problem, ProblemMore};

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

/// What an update has changed: the component, the grants, the world.
pub(super) fn changes(before: &PluginView, now: &PluginView) -> String {
    let (old, new) = (&before.inspected, &now.inspected);
    let mut lines = Vec::new();
    if old.digest != new.digest {
        lines.push(format!("- {}\n+ {}", old.digest, new.digest));
    }
    lines.extend(widened(&now.grants, &before.grants).into_iter().map(|grant| format!("- {grant}")));
    lines.extend(widened(&before.grants, &now.grants).into_iter().map(|grant| format!("+ {grant}")));
    let world = text_diff(&old.wit, &new.wit);
    lines.push(if world.is_empty() { "Its world is what it was.".to_owned() } else { world });
    lines.join("\n")
}

fn shown(more: &ProblemMore) -> String {
    let grants = more.widened.iter().fold(String::new(), |grants, line| grants + "\n  + " + line);
    let wit = more.wit_diff.as_ref().map(|diff| format!("\nIts world changes:\n{diff}")).unwrap_or_default();
    format!("The plugin would be granted more than it was:{grants}{wit}")
}
