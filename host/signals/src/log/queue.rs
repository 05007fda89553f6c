//! From whoever says something to whoever writes it down, without ever waiting.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::record::LogRecord;

/// Records that wait for the disk at the most; more are lost, and counted.
const CAPACITY: usize = 8_192;

/// The end that records go in. It is there before there is anything to write to, so that what is said while a server
/// starts is kept too.
#[derive(Debug, Clone)]
pub struct LogQueue {
    sender: mpsc::Sender<LogRecord>,
    lost: Arc<AtomicU64>,
}

/// The end that records come out of; a [`LogBook`](super::LogBook) takes it.
#[derive(Debug)]
pub struct LogRecords {
    pub(super) receiver: mpsc::Receiver<LogRecord>,
    pub(super) lost: Arc<AtomicU64>,
}

impl LogQueue {
    /// Both ends of a queue of 8,192 records.
    pub fn new() -> (Self, LogRecords) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        (Self { sender, lost: Arc::clone(&lost) }, LogRecords { receiver, lost })
    }

    /// Never waits: what does not fit is counted as lost. What is put in after the log was closed goes nowhere.
    pub fn put(&self, record: LogRecord) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(record) {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}
