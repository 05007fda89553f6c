//! The log as its readers see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nexus_signals::{
    Followed, LogBook, LogBookError, LogFilter, LogFormat, LogLevel, LogQueue, LogRecord, LogScope, LoggingService,
    LoggingSettings, Retention,
};
use time::OffsetDateTime;
use tokio_util::task::TaskTracker;

const KEEP: Retention = Retention { bytes: 1 << 20, age: Duration::from_hours(1) };

struct Log {
    queue: LogQueue,
    book: LogBook,
    tasks: TaskTracker,
    lost: Arc<AtomicU64>,
}

impl Log {
    fn open(dir: &Path) -> Self {
        let (queue, records) = LogQueue::new();
        let (tasks, lost) = (TaskTracker::new(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&lost);
        let count_them = move |more| {
            count.fetch_add(more, Ordering::SeqCst);
        };
        let book = LogBook::start(dir.to_owned(), KEEP, records, count_them, &tasks).unwrap();
        Self { queue, book, tasks, lost }
    }

    fn say(&self, app: Option<&str>, message: &str) {
        let mut record = LogRecord::now(LogLevel::Info, "test");
        message.clone_into(&mut record.message);
        record.context.app = app.map(str::to_owned);
        self.queue.put(record);
    }

    async fn close(self) {
        self.book.close();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits until so many records were written altogether.
    async fn written(&self, count: u64) {
        for _ in 0..2_000 {
            if self.book.query(all(), None, 1).await.unwrap().newest >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{count} records were not written");
    }
}

fn all() -> LogFilter {
    LogFilter::all(LogScope::All)
}

fn messages(records: &[LogRecord]) -> Vec<&str> {
    records.iter().map(|record| record.message.as_str()).collect()
}

#[tokio::test]
async fn pages_lead_to_the_oldest_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    for number in 1..=25 {
        log.say(Some(if number % 2 == 0 { "even" } else { "odd" }), &format!("number {number}"));
    }
    log.close().await;
    // After a restart, the numbers go on.
    let log = Log::open(dir.path());
    log.say(None, "of the host");
    log.written(26).await;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = log.book.query(all(), cursor, 10).await.unwrap();
        assert_eq!(page.newest, 26);
        found.extend(page.records.iter().map(|record| record.id));
        let Some(next) = page.next else { break };
        cursor = Some(next);
    }
    assert_eq!(found, (1..=26).rev().collect::<Vec<u64>>());

    let apps = |names: &[&str]| LogScope::Apps(names.iter().map(|name| name.parse().unwrap()).collect());
    let filter = LogFilter { text: Some("NUMBER 2".into()), ..LogFilter::all(apps(&["even"])) };
    let page = log.book.query(filter, None, 100).await.unwrap();
    assert_eq!(messages(&page.records), ["number 24", "number 22", "number 20", "number 2"]);
    let page = log.book.query(LogFilter::all(apps(&[])), None, 100).await.unwrap();
    assert_eq!(page.records, [], "the host's own records are not an application's");
    let filter = LogFilter { since: Some(OffsetDateTime::now_utc() + Duration::from_mins(1)), ..all() };
    assert_eq!(log.book.query(filter, None, 100).await.unwrap().records, []);
    let filter = LogFilter { level: Some(LogLevel::Warn), ..all() };
    assert_eq!(log.book.query(filter, None, 100).await.unwrap().records, []);
}

#[tokio::test]
async fn a_follower_misses_nothing_and_is_told_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    let mut follower = log.book.follow(all(), None).unwrap();
    let filler = "x".repeat(4_000);
    for number in 0..200 {
        log.say(None, &format!("{number} {filler}"));
    }
    let mut seen = 0;
    while seen < 200 {
        let Some(Followed::Records(records)) = follower.next().await.unwrap() else { panic!("no gap yet") };
        for record in records {
            seen += 1;
            assert_eq!(record.id, seen);
        }
    }
    // More than is kept, while nobody reads: the oldest segments go.
    for round in 1..=5 {
        for number in 0..200 {
            log.say(None, &format!("{number} {filler}"));
        }
        log.written(200 + round * 200).await;
    }
    let Some(Followed::Gap { missing, until }) = follower.next().await.unwrap() else { panic!("a gap was due") };
    assert_eq!(missing, until - seen);
    let Some(Followed::Records(records)) = follower.next().await.unwrap() else { panic!("records were due") };
    assert_eq!(records[0].id, until + 1);
    // A number from before the gap, as a client that comes back sends it.
    let mut again = log.book.follow(all(), Some(17)).unwrap();
    assert!(matches!(again.next().await.unwrap(), Some(Followed::Gap { missing, .. }) if missing == until - 17));
    log.book.stop_following();
    assert_eq!(again.next().await.unwrap(), None);
    assert_eq!(log.lost.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn followers_are_few() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    let followers: Vec<_> = (0..64).map(|_| log.book.follow(all(), None).unwrap()).collect();
    assert!(matches!(log.book.follow(all(), None), Err(LogBookError::TooManyFollowers)));
    drop(followers);
    assert!(log.book.follow(all(), None).is_ok());
}

#[tokio::test]
async fn what_has_no_room_is_counted_and_said() {
    let dir = tempfile::tempdir().unwrap();
    // On this one thread nothing is written before the first wait.
    let log = Log::open(dir.path());
    for number in 0..8_200 {
        log.say(None, &number.to_string());
    }
    log.written(8_193).await;
    assert_eq!(log.lost.load(Ordering::SeqCst), 8);
    let filter = LogFilter { level: Some(LogLevel::Warn), ..all() };
    let page = log.book.query(filter, None, 10).await.unwrap();
    assert_eq!(messages(&page.records), ["8 records had no room and were lost"]);
}

#[tokio::test]
async fn a_full_disk_costs_records_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    log.say(None, "before");
    log.written(1).await;
    // The folder is gone: there is no next segment, and no list of them.
    std::fs::remove_dir_all(dir.path()).unwrap();
    log.say(None, "lost on the way");
    log.close().await;
    let log = Log::open(dir.path());
    log.say(None, "after");
    log.written(1).await;
    assert_eq!(messages(&log.book.query(all(), None, 10).await.unwrap().records), ["after"]);
}

#[tokio::test]
async fn what_is_said_within_a_call_carries_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    let settings =
        LoggingSettings { format: LogFormat::Json, queue: Some(log.queue.clone()), ..LoggingSettings::default() };
    let subscriber = LoggingService::new(settings).unwrap().subscriber(std::io::sink);
    let execution = "0197a1b2-1111-7222-8333-444455556666";
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::error_span!("execution", app = "order-desk", operation = "parse-date", execution);
        span.in_scope(|| tracing::info!(target: "nexus::guest", stream = "stdout", "forged\n\u{1b}[31m app=other"));
        tracing::warn!(operation = "other-desk/x", count = 3, "outside");
    });
    log.written(2).await;
    let records = log.book.query(all(), None, 10).await.unwrap().records;
    let [outside, inside] = &records[..] else { panic!("{records:?}") };
    let about = |record: &LogRecord| (record.context.app.clone().unwrap(), record.context.operation.clone().unwrap());
    assert_eq!(about(inside), ("order-desk".to_owned(), "parse-date".to_owned()));
    assert_eq!(inside.context.execution.as_deref(), Some(execution));
    assert_eq!(inside.context.trace_id.as_deref(), Some("0197a1b2111172228333444455556666"));
    assert_eq!(inside.message, "forged\n\u{1b}[31m app=other");
    assert_eq!(about(outside), ("other-desk".to_owned(), "x".to_owned()));
    assert_eq!((&outside.fields["count"], &outside.context.execution), (&3.into(), &None));
}
