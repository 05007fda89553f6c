//! Reading logs as they grow, from a place that a reader remembers.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use nexus_model::StoreError;
use tokio::sync::watch;

use super::{EventLog, EventScope, LoggedEvent};

/// Events of one log that are read at one time.
const PAGE: usize = 100;
/// How long until the logs are looked at again, should somebody else have appended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How soon after something was appended they are.
const GATHER: Duration = Duration::from_millis(20);
/// The longest cursor.
const MAX_CURSOR: usize = 16 << 10;

/// What a reader sees next.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// An event, and whose it is.
    Event(EventScope, Box<LoggedEvent>),
    /// Events of this log may have been lost here: the log does not reach back far enough any more.
    Gap(EventScope),
}

/// A cursor that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not the id of an event of this stream")]
pub struct CursorError;

/// Reads several logs, each in its order. Holds a page of each at the most, and is as slow as whoever asks it.
#[derive(Debug)]
pub struct Follower {
    log: EventLog,
    changes: watch::Receiver<u64>,
    /// The last place seen of each log; `None` before the first.
    places: BTreeMap<EventScope, Option<String>>,
    /// Logs whose next page may begin after a gap.
    behind: Vec<EventScope>,
}

impl Follower {
    /// Reads these logs from now on.
    pub async fn from_now(log: EventLog, scopes: Vec<EventScope>) -> Result<Self, StoreError> {
        let changes = log.changes();
        let mut places = BTreeMap::new();
        for scope in scopes {
            let newest = log.newest(&scope).await?;
            places.insert(scope, newest);
        }
        Ok(Self { log, changes, places, behind: Vec::new() })
    }

    /// Reads these logs from the oldest event that is kept.
    pub fn from_the_beginning(log: EventLog, scopes: Vec<EventScope>) -> Self {
        let changes = log.changes();
        Self { log, changes, places: scopes.into_iter().map(|scope| (scope, None)).collect(), behind: Vec::new() }
    }

    /// Reads these logs from where a cursor of [`Follower::cursor`] stands. Logs that it does not name are read from the
    /// beginning; what it names beyond them is passed over.
    pub fn from_cursor(log: EventLog, scopes: Vec<EventScope>, cursor: &str) -> Result<Self, CursorError> {
        let named = parse(cursor)?;
        let mut follower = Self::from_the_beginning(log, scopes);
        for (scope, place) in named {
            if let Some(known) = follower.places.get_mut(&scope) {
                *known = Some(place);
                follower.behind.push(scope);
            }
        }
        Ok(follower)
    }

    /// Waits for the next events; at least one, or a gap. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Seen>, StoreError> {
        loop {
            self.changes.mark_unchanged();
            let seen = self.look().await?;
            if !seen.is_empty() {
                return Ok(seen);
            }
            // An error says that nobody in this process appends any more; others may.
            if tokio::time::timeout(LOOK_EVERY, self.changes.changed()).await.is_ok() {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    async fn look(&mut self) -> Result<Vec<Seen>, StoreError> {
        let mut seen = Vec::new();
        for (scope, place) in &self.places {
            let page = self.log.read(scope, place.as_deref(), PAGE).await?;
            // Only who reads whole pages, or comes back, can have fallen behind what is kept.
            if let Some(place) = place
                && !page.is_empty()
                && (page.len() == PAGE || self.behind.contains(scope))
                && self.log.oldest(scope).await?.is_some_and(|oldest| oldest > *place)
            {
                seen.push(Seen::Gap(scope.clone()));
            }
            seen.extend(page.into_iter().map(|event| Seen::Event(scope.clone(), Box::new(event))));
        }
        self.behind.clear();
        Ok(seen)
    }

    /// Remembers that this was seen.
    pub fn pass(&mut self, seen: &Seen) {
        if let Seen::Event(scope, event) = seen {
            self.places.insert(scope.clone(), Some(event.id.clone()));
        }
    }

    /// Where this reader stands, as text that [`Follower::from_cursor`] takes.
    pub fn cursor(&self) -> String {
        let mut text = String::new();
        for (scope, place) in &self.places {
            if let Some(place) = place {
                let separator = if text.is_empty() { "" } else { "," };
                let scope = scope.as_ref().map_or("-", |app| app.as_str());
                // Writing to a String does not fail.
                let _ = write!(text, "{separator}{scope}:{place}");
            }
        }
        text
    }
}

fn parse(cursor: &str) -> Result<Vec<(EventScope, String)>, CursorError> {
    if cursor.len() > MAX_CURSOR {
        return Err(CursorError);
    }
    let part = |part: &str| {
        let (scope, place) = part.split_once(':').ok_or(CursorError)?;
        let well_formed = !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let scope = if scope == "-" { None } else { Some(scope.parse().map_err(|_| CursorError)?) };
        if well_formed { Ok((scope, place.to_owned())) } else { Err(CursorError) }
    };
    cursor.split(',').filter(|text| !text.is_empty()).map(part).collect()
}
