//! Queues on disk: what waits there survives the end of the pipeline, and nothing but the bounds of
//! the disk ends it.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use teleflow::exporter::{
    Delivered, ExportError, Exporter, OnFull, QueueConfig, Retry, RetryConfig,
};
use teleflow::{
    Account, Books, LaneConfig, Payload, Pipeline, Sending, Signal, StartError, Storage, spool,
};
use teleflow_testkit::sink::{Cue, Sink};
use teleflow_testkit::telemetry::Telemetry;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

/// A destination that cannot be reached before a certain time, and keeps the order of what comes.
#[derive(Clone, Debug)]
struct Backend {
    up_from: Instant,
    taken: Arc<Mutex<Vec<Payload>>>,
    attempts: Arc<Mutex<u64>>,
}

impl Backend {
    fn up_from(up_from: Instant) -> Self {
        Self { up_from, taken: Arc::default(), attempts: Arc::default() }
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.taken.lock().unwrap().iter().map(|payload| payload.to_bytes().to_vec()).collect()
    }
}

impl Exporter for Backend {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        *self.attempts.lock().unwrap() += 1;
        if Instant::now() < self.up_from {
            return Err(ExportError::Unreachable("nobody listens".to_owned()));
        }
        self.taken.lock().unwrap().push(payload);
        Ok(Delivered::ALL)
    }
}

fn in_order() -> QueueConfig {
    QueueConfig { num_consumers: NonZeroUsize::MIN, ..QueueConfig::default() }
}

fn small(folder: &Path) -> Storage {
    let mut storage = Storage::new(folder);
    storage.spool = spool::Config {
        max_bytes: 8 << 20,
        segment_bytes: 1 << 20,
        max_record: 1 << 20,
        ..storage.spool
    };
    storage
}

async fn start(exporter: impl Exporter, queue: QueueConfig, storage: Storage) -> Pipeline {
    let sending = Sending { queue, storage: Some(storage), batch: None };
    let lane = LaneConfig::new("logs/a b", Signal::Logs).from("app").to("otlp/x");
    let builder = Pipeline::builder().inlet("app").exporter("otlp/x", exporter, sending).lane(lane);
    builder.start().await.unwrap()
}

async fn send(pipeline: &Pipeline, requests: usize, seed: u64) -> Vec<Payload> {
    let (inlet, mut telemetry) = (pipeline.inlet("app").unwrap(), Telemetry::new(seed));
    let mut sent = Vec::new();
    while sent.len() < requests {
        let request = telemetry.request(Signal::Logs, 5);
        let payload = Payload::parse(Signal::Logs, request.into()).unwrap();
        if !payload.is_empty() {
            inlet.send(payload.clone()).await.unwrap();
            sent.push(payload);
        }
    }
    sent
}

fn items(payloads: &[Payload]) -> u64 {
    payloads.iter().map(Payload::items).sum()
}

fn bodies(payloads: &[Payload]) -> Vec<Vec<u8>> {
    payloads.iter().map(|payload| payload.to_bytes().to_vec()).collect()
}

fn the_only(books: &Books) -> &Account {
    assert!(books.balance(), "{books}");
    let [account] = &books.accounts[..] else { panic!("there is one destination") };
    account
}

async fn until(pipeline: &Pipeline, done: impl Fn(&Account) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(3600);
    // bounded wait: the disk has a thread of its own.
    while !done(the_only(&pipeline.books())) {
        assert!(Instant::now() < deadline, "{}", pipeline.books());
        sleep(Duration::from_millis(1)).await;
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

#[tokio::test]
async fn what_was_not_delivered_is_there_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let never = Backend::up_from(Instant::now() + Duration::from_secs(1 << 30));
    let pipeline = start(never.clone(), in_order(), small(folder.path())).await;
    let first = send(&pipeline, 20, 1).await;
    // It waits between two attempts, and the end does not wait for that.
    while *never.attempts.lock().unwrap() == 0 {
        yield_now().await;
    }
    let books = pipeline.shutdown(soon()).await;
    let account = the_only(&books);
    assert_eq!((account.accepted, account.recovered), (items(&first), 0));
    assert_eq!((account.held, account.delivered), (items(&first), 0));
    assert!(never.bodies().is_empty());

    let backend = Backend::up_from(Instant::now());
    let pipeline = start(backend.clone(), in_order(), small(folder.path())).await;
    assert_eq!(the_only(&pipeline.books()).recovered, items(&first));
    let second = send(&pipeline, 20, 2).await;
    until(&pipeline, |account| account.held == 0).await;
    let books = pipeline.shutdown(soon()).await;
    let account = the_only(&books);
    assert_eq!(account.accepted, items(&first) + items(&second));
    assert_eq!((account.recovered, account.delivered), (items(&first), account.accepted));
    assert!(backend.bodies() == [bodies(&first), bodies(&second)].concat(), "in order, and once");

    // Nothing is left.
    let pipeline = start(Sink::new(), in_order(), small(folder.path())).await;
    assert_eq!(the_only(&pipeline.shutdown(soon()).await).accepted, 0);
    assert!(folder.path().join("otlp%2fx").join("logs%2fa%20b").is_dir());
}

#[tokio::test]
async fn who_waits_is_answered_when_it_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let closed = Sink::closed();
    let sending = Sending { storage: Some(small(folder.path())), ..Sending::default() };
    let lane = LaneConfig::new("logs", Signal::Logs).from("app").to("sink");
    let builder = Pipeline::builder().inlet("app").wait_for_result("app");
    let builder = builder.exporter("sink", closed.clone(), sending).lane(lane);
    let pipeline = builder.start().await.unwrap();
    let sent = send(&pipeline, 10, 3).await;
    let account = the_only(&pipeline.books()).clone();
    assert_eq!((account.held, account.delivered), (items(&sent), 0));
    let stats = pipeline.stats().lanes[0].queues[0].1;
    assert_eq!(stats.queued_items + stats.in_flight_items, items(&sent));
    closed.open();
    until(&pipeline, |account| account.held == 0).await;
    let books = pipeline.shutdown(soon()).await;
    assert_eq!(the_only(&books).delivered, items(&sent));
    assert_eq!(closed.items(Signal::Logs), items(&sent));
}

/// The retries of the exporter itself end after five minutes; those of the queue do not.
#[tokio::test(start_paused = true)]
async fn a_destination_that_is_away_for_88_hours_gets_everything_in_order() {
    const AWAY: Duration = Duration::from_secs(88 * 3600);
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::up_from(Instant::now() + AWAY);
    let retry = Retry::new(backend.clone(), RetryConfig::default()).unwrap();
    let mut storage = small(folder.path());
    storage.spool.sync = spool::Sync::Never;
    storage.spool.max_bytes = 1 << 30;
    let pipeline = start(retry, in_order(), storage.clone()).await;
    let start_time = Instant::now();
    let (mut sent, mut most_in_memory) = (Vec::new(), 0);
    while start_time.elapsed() < AWAY {
        sent.extend(send(&pipeline, 1, sent.len() as u64).await);
        sleep(Duration::from_secs(60)).await;
        let stats = pipeline.stats().lanes[0].queues[0].1;
        most_in_memory = most_in_memory.max(stats.in_flight_bytes);
        assert!(the_only(&pipeline.books()).dropped.is_empty(), "{}", pipeline.books());
    }
    assert!(sent.len() > 1000, "{}", sent.len());
    assert!(*backend.attempts.lock().unwrap() > 1000);
    let largest = sent.iter().map(Payload::bytes).max().unwrap();
    assert!(most_in_memory <= largest, "one consumer has one record: {most_in_memory}");
    until(&pipeline, |account| account.held == 0).await;
    let books = pipeline.shutdown(soon()).await;
    let account = the_only(&books);
    assert_eq!((account.accepted, account.delivered), (items(&sent), items(&sent)));
    assert!(backend.bodies() == bodies(&sent), "in order, and once");
}

#[tokio::test]
async fn what_is_refused_for_good_is_in_the_books_and_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    sink.cue([Cue::Permanent, Cue::Reject(2), Cue::Panic, Cue::Take]);
    let pipeline = start(sink.clone(), in_order(), small(folder.path())).await;
    let sent = send(&pipeline, 4, 4).await;
    until(&pipeline, |account| account.held == 0).await;
    let books = pipeline.shutdown(soon()).await;
    let account = the_only(&books);
    assert_eq!(account.rejected, sent[0].items() + 2);
    assert_eq!(account.dropped["panicked"], sent[2].items());
    assert_eq!(account.delivered, sent[1].items() - 2 + sent[3].items());
    assert_eq!(sink.attempts(), 4);
    let pipeline = start(sink, in_order(), small(folder.path())).await;
    assert_eq!(the_only(&pipeline.shutdown(soon()).await).recovered, 0);
}

/// Where others go on meanwhile, what has no room is dropped; alone, the senders are refused.
#[tokio::test]
async fn a_full_disk_beside_another_destination_drops_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = small(folder.path());
    storage.shell.max_records = NonZeroU64::new(7);
    let (sink, other) = (Sink::closed(), Sink::new());
    let sending = Sending { queue: in_order(), storage: Some(storage), batch: None };
    let lane = LaneConfig::new("logs", Signal::Logs).from("app").to("disk").to("other");
    let builder = Pipeline::builder().inlet("app").exporter("disk", sink.clone(), sending);
    let builder = builder.exporter("other", other.clone(), QueueConfig::default()).lane(lane);
    let pipeline = builder.start().await.unwrap();
    let sent = send(&pipeline, 12, 5).await;
    let dropped = || pipeline.books().accounts[0].dropped.get("queue_full").copied();
    while dropped() != Some(items(&sent[7..])) || other.items(Signal::Logs) < items(&sent) {
        yield_now().await;
    }
    sink.open();
    while pipeline.books().accounts[0].held > 0 {
        yield_now().await;
    }
    let books = pipeline.shutdown(soon()).await;
    assert!(books.balance(), "{books}");
    assert_eq!(books.accounts[0].delivered, items(&sent[..7]));
    assert_eq!(books.accounts[1].delivered, items(&sent));
}

#[tokio::test]
async fn a_full_disk_has_senders_refused_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = small(folder.path());
    storage.shell.max_records = NonZeroU64::new(3);
    storage.shell.queue_bytes = 1000;
    let sink = Sink::closed();
    let pipeline = start(sink.clone(), in_order(), storage).await;
    let (inlet, mut telemetry) = (pipeline.inlet("app").unwrap(), Telemetry::new(9));
    let (mut taken, mut is_refused) = (0, false);
    while !is_refused {
        let payload = Payload::parse(Signal::Logs, telemetry.request(Signal::Logs, 5).into());
        let payload = payload.unwrap();
        let items = payload.items();
        match inlet.send(payload).await {
            Ok(_) => taken += items,
            Err(_) => is_refused = true,
        }
        yield_now().await;
    }
    sink.open();
    until(&pipeline, |account| account.held == 0).await;
    let books = pipeline.shutdown(soon()).await;
    let account = the_only(&books);
    assert_eq!((account.accepted, account.delivered), (taken, taken), "{books}");
}

#[tokio::test]
async fn a_full_disk_that_waits_holds_the_senders_up_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = small(folder.path());
    storage.shell.max_items = NonZeroU64::new(30);
    storage.shell.queue_bytes = 1000;
    let sink = Sink::closed();
    let queue = QueueConfig { on_full: OnFull::Wait, ..in_order() };
    let pipeline = start(sink.clone(), queue, storage).await;
    let sent = send(&pipeline, 50, 6).await;
    for _ in 0..1000 {
        yield_now().await;
    }
    assert!(pipeline.stats().lanes[0].queues[0].1.queued_items <= 30);
    sink.open();
    until(&pipeline, |account| account.delivered == items(&sent)).await;
    let books = pipeline.shutdown(soon()).await;
    assert_eq!((the_only(&books).accepted, the_only(&books).held), (items(&sent), 0));
    assert!(bodies(&sink.taken()) == bodies(&sent), "in order, and once");
}

#[tokio::test]
async fn what_the_disk_drops_for_new_data_is_in_the_books() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = small(folder.path());
    storage.spool.max_bytes = 40_000;
    storage.spool.segment_bytes = 4_000;
    storage.spool.max_record = 20_000;
    storage.spool.on_full = spool::OnFull::DropOldest;
    let sink = Sink::closed();
    let pipeline = start(sink.clone(), in_order(), storage).await;
    let sent = send(&pipeline, 200, 7).await;
    until(&pipeline, |account| account.dropped.contains_key("storage_full")).await;
    sink.open();
    until(&pipeline, |account| account.held == 0).await;
    let books = pipeline.shutdown(soon()).await;
    let account = the_only(&books);
    assert_eq!(account.delivered + account.dropped["storage_full"], items(&sent), "{books}");
    // What was being sent when it was dropped has arrived all the same, and counts as lost.
    let arrived = sink.items(Signal::Logs);
    assert!(arrived >= account.delivered, "{books}");
    assert!(bodies(&sink.taken()).last() == bodies(&sent).last(), "the newest is there");
}

#[tokio::test]
async fn a_batch_that_no_record_holds_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = small(folder.path());
    storage.spool.max_record = 10;
    let pipeline = start(Sink::new(), in_order(), storage).await;
    let sent = send(&pipeline, 3, 8).await;
    until(&pipeline, |account| account.held == 0).await;
    let books = pipeline.shutdown(soon()).await;
    assert_eq!(the_only(&books).dropped["too_large"], items(&sent));
}

#[tokio::test]
async fn a_folder_that_cannot_be_had_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(Sink::new(), in_order(), small(folder.path())).await;
    let sending = Sending { storage: Some(small(folder.path())), ..Sending::default() };
    let lane = LaneConfig::new("logs/a b", Signal::Logs).from("app").to("otlp/x");
    let builder = Pipeline::builder().inlet("app").exporter("otlp/x", Sink::new(), sending);
    let error = builder.lane(lane).start().await.unwrap_err();
    assert!(matches!(&error, StartError::Storage { exporter, .. } if exporter == "otlp/x"));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("otlp%2fx/logs%2fa%20b: "), "{source}");
    assert!(first.shutdown(soon()).await.balance());
}
