//! What the terminal shows.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, stdout},
    time::{Duration, Instant},
};

use super::progress::{Phase, Progress, Shared, median};
use crate::out;

/// Between two plain lines about an operation whose state stays.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Draws all operations again and again in one place; where nobody watches, writes a line now and then.
pub(super) struct Screen {
    live: bool,
    drawn: usize,
    said: BTreeMap<String, Said>,
}

impl Screen {
    /// With `quiet_output`, standard output is left alone.
    pub(super) fn new(quiet_output: bool) -> Self {
        Self { live: !quiet_output && stdout().is_terminal(), drawn: 0, said: BTreeMap::new() }
    }

    pub(super) fn draw(&mut self, lanes: &[Shared]) {
        if self.live {
            let block: Vec<String> = lanes.iter().flat_map(|lane| lines(&lane.read())).collect();
            let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
            // Without wrapping, a line that is too long for the terminal still is one line.
            out::raw(&format!("\x1b[?7l{up}\x1b[2K{}\n\x1b[?7h", block.join("\n\x1b[2K")));
            self.drawn = block.len();
        } else {
            for lane in lanes {
                self.say(&lane.read());
            }
        }
    }

    fn say(&mut self, progress: &Progress) {
        let (name, state) = (progress.name(), &progress.standing.state);
        let last = self.said.get(&name);
        let moved = last.is_none_or(|last| last.state != *state);
        let changed = moved || last.is_some_and(|last| last.phase != progress.phase);
        let due = last.is_some_and(|last| last.at.elapsed() >= PLAIN_EVERY) && progress.phase != Phase::Over;
        if changed || due {
            out::note(line(progress));
            if moved && progress.settled() {
                out::note(format!("    {}", why(progress)));
            }
            self.said.insert(name, Said { state: state.clone(), phase: progress.phase, at: Instant::now() });
        }
    }
}

/// What was said last about an operation.
struct Said {
    state: String,
    phase: Phase,
    at: Instant,
}

/// An operation in one line.
fn line(progress: &Progress) -> String {
    format!(
        "{}  {} · {} calls · model {} ({}) · component {} ({}) · fell back {}",
        progress.name(),
        state(progress, false),
        progress.calls(),
        progress.model.len(),
        time(&progress.model),
        progress.component.len(),
        time(&progress.component),
        progress.fallbacks,
    )
}

/// An operation in four lines.
fn lines(progress: &Progress) -> Vec<String> {
    let Progress { standing, fallbacks, failures, .. } = progress;
    let failed = if *failures > 0 { format!("  FAILED {failures}") } else { String::new() };
    vec![
        format!("{}  {}", out::bold(&progress.name(), true), state(progress, true)),
        format!(
            "    calls {:>5}   model {:>5} ({})   component {:>5} ({})   fell back {fallbacks}{failed}",
            progress.calls(),
            progress.model.len(),
            time(&progress.model),
            progress.component.len(),
            time(&progress.component),
        ),
        format!(
            "    agreement: sealed set {}   live {}   saved {}",
            standing.score().map_or_else(none, |score| share(score.agreed, score.handled)),
            share(standing.live.agreed, standing.live.handled),
            progress.saved_usd().map_or_else(none, |usd| format!("{usd:.5} USD (replayed, at list price)")),
        ),
        format!("    {}", out::paint(&why(progress), "2", true)),
    ]
}

/// The state, and how far it is.
fn state(progress: &Progress, colour: bool) -> String {
    let standing = &progress.standing;
    match standing.state.as_str() {
        "active" => out::paint("ACTIVE: code answers", "1;32", colour),
        "refused" => out::paint("REFUSED: the model goes on answering", "1;33", colour),
        "compiling" => out::paint("compiling: code is written and checked", "1;36", colour),
        "profiling" => format!("profiling: {} of {} distinct inputs", standing.distinct_inputs, standing.needed_inputs),
        other => other.to_owned(),
    }
}

/// What stands behind the decision.
fn why(progress: &Progress) -> String {
    let standing = &progress.standing;
    if let Some(reason) = standing.refused_because() {
        return reason;
    }
    let (Some(evidence), Some(score)) = (&standing.evidence, standing.score()) else {
        return "no decision yet".to_owned();
    };
    format!(
        "attempt {} of the coder: of {} sealed inputs it handles {}, and answers {} of them as the model did (asked for: {})",
        evidence.attempts.len(),
        score.n,
        score.handled,
        score.agreed,
        percent(evidence.required_agreement),
    )
}

fn time(micros: &[u64]) -> String {
    median(micros).map_or_else(none, out::duration)
}

fn share(part: u32, whole: u32) -> String {
    if whole == 0 { none() } else { format!("{part}/{whole} ({})", percent(f64::from(part) / f64::from(whole))) }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn none() -> String {
    "–".to_owned()
}
