//! Groups of readers over a stream of the runtime store.

use std::time::Duration;

use crate::Key;

/// A group of readers over a stream. Each entry is handed to one consumer of the group and stays pending until that
/// consumer, or one that claims it later, acknowledges it. Groups of one stream know nothing of each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConsumerGroup {
    /// The stream.
    pub stream: Key,
    /// The group's name, at most 256 bytes.
    pub name: String,
}

impl ConsumerGroup {
    /// The group of this name over a stream.
    pub fn new(stream: Key, name: impl Into<String>) -> Self {
        Self { stream, name: name.into() }
    }
}

/// Where a new group begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// With the oldest entry that is there.
    Beginning,
    /// With the first entry that is appended after the group was made.
    Now,
}

/// An entry in a consumer's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The entry's id.
    pub id: String,
    /// What was appended.
    pub value: Vec<u8>,
    /// How often it has been handed to a consumer of the group, this time included.
    pub deliveries: u64,
}

/// An entry that was handed to a consumer and is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEntry {
    /// The entry's id.
    pub id: String,
    /// Who has it.
    pub consumer: String,
    /// Since when, in whole milliseconds.
    pub idle: Duration,
    /// How often it has been handed to a consumer of the group.
    pub deliveries: u64,
}
