//! What those who watch an execution are told.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::record::Record;

/// Pieces of news that are kept for whoever comes late or comes back.
const KEPT: usize = 2_000;
/// Steps that are remembered to have been told.
const STEPS: usize = 10_000;

/// Where a piece of news stands: how many steps had ended, and which of those since then it is. Grows, also when another host
/// has the execution: what ended is in its journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewsId {
    ended: u64,
    since: u64,
}

impl NewsId {
    /// That of the step that was the so-many-th to end.
    pub fn of_ended(ended: u64) -> Self {
        Self { ended, since: 0 }
    }

    /// The next after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self { since: self.since + 1, ..self }
    }
}

impl std::fmt::Display for NewsId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.ended, self.since)
    }
}

impl std::str::FromStr for NewsId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ended, since) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self { ended: ended.parse()?, since: since.parse()? })
    }
}

/// One piece of news.
#[derive(Debug, Clone, PartialEq)]
pub struct NewsItem {
    /// Where it stands.
    pub id: NewsId,
    /// What it is.
    pub news: Told,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Told {
    /// A task of the workflow begins or ends.
    Step {
        /// The step.
        step: String,
        /// The task's name.
        task: String,
        /// `started`, `completed`, `skipped`, `faulted` or `retried`.
        phase: String,
    },
    /// An effect is begun.
    Begun {
        /// The step.
        step: String,
        /// What kind of effect it is.
        kind: String,
        /// Of what.
        name: String,
    },
    /// An effect has ended, or a decision was made, and is written down.
    Ended(Box<Record>),
    /// A piece of what a model says.
    Token {
        /// The step that asks it.
        step: String,
        /// The piece.
        text: String,
    },
    /// What a model said in this step is void: it begins again.
    Restart {
        /// The step that asks it.
        step: String,
    },
    /// It waits, in no sandbox.
    Parked {
        /// Until then at the latest, as Unix time in milliseconds.
        until_unix_ms: Option<i64>,
    },
    /// It goes on.
    Resumed,
    /// It has ended: `output` or `problem`.
    Finished {
        /// The output.
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
        /// Why there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<Value>,
    },
}

/// The newest of what is told of one execution.
#[derive(Debug)]
pub(crate) struct News {
    ring: Mutex<Ring>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Ring {
    items: VecDeque<NewsItem>,
    last: NewsId,
    /// What was told of steps: who walks a workflow once more tells it again.
    steps: HashSet<(String, String)>,
}

impl Default for News {
    fn default() -> Self {
        Self { ring: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl News {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells something that a crash may lose.
    pub(crate) fn tell(&self, news: Told) {
        let mut ring = self.ring();
        ring.last.since += 1;
        let id = ring.last;
        ring.push(NewsItem { id, news });
        drop(ring);
        self.changed.send_replace(());
    }

    /// Tells of a step unless that was told before.
    pub(crate) fn step(&self, step: String, task: String, phase: String) {
        let mut ring = self.ring();
        if ring.steps.len() < STEPS && !ring.steps.insert((step.clone(), phase.clone())) {
            return;
        }
        drop(ring);
        self.tell(Told::Step { step, task, phase });
    }

    /// Tells that a step has ended, which is written down.
    pub(super) fn ended(&self, record: Record) {
        let mut ring = self.ring();
        ring.last = NewsId { ended: record.ended.max(ring.last.ended), since: 0 };
        let id = ring.last;
        ring.push(NewsItem { id, news: Told::Ended(Box::new(record)) });
        drop(ring);
        self.changed.send_replace(());
    }

    /// Whether nothing was told yet.
    pub(super) fn is_empty(&self) -> bool {
        self.ring().items.is_empty()
    }

    /// Tells what is written down, in the order in which it ended.
    pub(super) fn recall(&self, records: &[Record]) {
        let mut ended: Vec<_> = records.iter().filter(|record| record.ended > 0).cloned().collect();
        ended.sort_by_key(|record| record.ended);
        for record in ended {
            self.ended(record);
        }
    }

    /// What came after `id`.
    pub(crate) fn after(&self, id: Option<NewsId>) -> Vec<NewsItem> {
        self.ring().items.iter().filter(|item| id.is_none_or(|id| item.id > id)).cloned().collect()
    }

    /// Hears of each piece.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl Ring {
    fn push(&mut self, item: NewsItem) {
        if self.items.len() == KEPT {
            // What is written down is told before the rest.
            let rest = self.items.iter().position(|item| !matches!(item.news, Told::Ended(_)));
            self.items.remove(rest.unwrap_or(0));
        }
        self.items.push_back(item);
    }
}

/// Passes on what a model says in a step.
pub(super) struct StepSink<'a> {
    pub(super) news: &'a News,
    pub(super) step: &'a str,
}

impl nexus_model::TokenSink for StepSink<'_> {
    fn token(&mut self, text: &str) {
        self.news.tell(Told::Token { step: self.step.to_owned(), text: text.to_owned() });
    }

    fn restart(&mut self) {
        self.news.tell(Told::Restart { step: self.step.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, News, NewsId, Told};

    #[test]
    fn who_comes_back_gets_what_came_since_and_memory_has_a_bound() {
        let news = News::default();
        for _ in 0..KEPT + 10 {
            news.tell(Told::Resumed);
        }
        let all = news.after(None);
        assert_eq!(all.len(), KEPT);
        let seen: NewsId = all[KEPT - 3].id.to_string().parse().unwrap();
        assert_eq!(news.after(Some(seen)).len(), 2);
        assert!("x".parse::<NewsId>().is_err());
    }
}
