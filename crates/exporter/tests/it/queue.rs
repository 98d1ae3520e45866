use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use teleflow_exporter::{
    AnyExporter, Drained, ExportError, Observer, OnFull, Outcome, Queue, QueueConfig, QueueStats,
    Refused,
};
use teleflow_otlp::{Ack, Answer, Payload, Signal};
use tokio::time::Instant;

use crate::script::{Scripted, Step, spans};

/// Counts items, as the books do.
#[derive(Debug, Default)]
struct Books(Mutex<Counts>);

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    started: u64,
    outcomes: u64,
    delivered: u64,
    rejected: u64,
    failed: u64,
    gave_up: u64,
    panicked: u64,
    abandoned: u64,
}

impl Counts {
    fn items(self) -> u64 {
        self.delivered + self.rejected + self.failed + self.gave_up + self.abandoned
    }
}

impl Books {
    fn counts(&self) -> Counts {
        *self.0.lock().unwrap()
    }
}

impl Observer for Books {
    fn started(&self, _signal: Signal, items: u64) {
        self.0.lock().unwrap().started += items;
    }

    fn outcome(&self, _signal: Signal, items: u64, outcome: Outcome<'_>) {
        let mut counts = self.0.lock().unwrap();
        counts.outcomes += 1;
        match outcome {
            Outcome::Delivered(delivered) => {
                counts.delivered += items - delivered.rejected;
                counts.rejected += delivered.rejected;
            }
            Outcome::Failed(error) if error.is_retryable() => counts.gave_up += items,
            Outcome::Failed(error) => {
                counts.failed += items;
                counts.panicked += if error.kind() == "panicked" { items } else { 0 };
            }
            Outcome::Abandoned => counts.abandoned += items,
        }
    }
}

fn config(requests: usize, bytes: usize, consumers: usize, on_full: OnFull) -> QueueConfig {
    let nonzero = |n| NonZeroUsize::new(n).unwrap();
    QueueConfig {
        max_requests: nonzero(requests),
        max_bytes: nonzero(bytes),
        max_items: None,
        num_consumers: nonzero(consumers),
        on_full,
    }
}

fn queue(script: &Scripted, config: QueueConfig) -> (Queue, Arc<Books>) {
    let books = Arc::new(Books::default());
    let exporter = AnyExporter::new(script.clone());
    (Queue::spawn(exporter, config, Arc::clone(&books) as Arc<dyn Observer>), books)
}

/// Long enough for everything that ends by itself; time is paused, so it costs nothing.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

const MIB: usize = 1024 * 1024;

#[tokio::test(start_paused = true)]
async fn when_it_is_full_the_payload_comes_back() {
    let script = Scripted::new([Step::Wait, Step::Wait]);
    let (queue, books) = queue(&script, config(2, MIB, 1, OnFull::Reject));
    queue.try_push(spans(1, "in flight")).unwrap();
    script.begun(1).await;
    queue.push(spans(2, "queued")).await.unwrap();

    // What is in flight counts as well.
    let refused = queue.try_push(spans(3, "refused")).unwrap_err();
    assert!(matches!(refused, Refused::Full(_)), "{refused}");
    assert_eq!(refused.into_payload().to_bytes(), spans(3, "refused").to_bytes());
    assert!(matches!(queue.push(spans(3, "refused")).await, Err(Refused::Full(_))));

    script.release(1);
    script.begun(1).await;
    queue.try_push(spans(4, "room again")).unwrap();
    script.release(1);
    assert_eq!(queue.drain(soon()).await, Drained::default());
    assert_eq!(books.counts().delivered, 7);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_too_and_what_can_never_fit_is_told_so() {
    let script = Scripted::new([Step::Wait]);
    let payload = spans(10, "a span of some bytes");
    let bytes = payload.bytes();
    let (queue, books) = queue(&script, config(100, 2 * bytes, 1, OnFull::Wait));
    queue.try_push(payload.clone()).unwrap();
    queue.try_push(payload.clone()).unwrap();
    assert!(matches!(queue.try_push(spans(1, "")), Err(Refused::Full(_))));
    let larger = spans(30, "a span of some bytes");
    assert!(matches!(queue.push(larger).await, Err(Refused::TooLarge(_))));

    script.release(1);
    queue.drain(soon()).await;
    assert_eq!(books.counts().delivered, 20);
}

#[tokio::test(start_paused = true)]
async fn items_are_bounded_where_one_wants_it() {
    let script = Scripted::new([Step::Wait]);
    let most =
        QueueConfig { max_items: NonZeroU64::new(10), ..config(100, MIB, 1, OnFull::Reject) };
    let (queue, books) = queue(&script, most);
    queue.try_push(spans(4, "in flight")).unwrap();
    script.begun(1).await;
    queue.try_push(spans(6, "queued")).unwrap();
    assert!(matches!(queue.try_push(spans(1, "")), Err(Refused::Full(_))));
    assert!(matches!(queue.try_push(spans(11, "")), Err(Refused::TooLarge(_))));
    script.release(1);
    queue.drain(soon()).await;
    assert_eq!(books.counts().delivered, 10);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_payload_is_told_what_became_of_it() {
    let script = Scripted::new([Step::Wait]);
    let (queue, _books) = queue(&script, config(100, MIB, 1, OnFull::Reject));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let awaited = |items| {
        let tell = tell.clone();
        spans(items, "").with_ack(Ack::new(items, move |answer| tell.send(answer).unwrap()))
    };
    queue.try_push(awaited(4)).unwrap();
    queue.try_push(awaited(5)).unwrap();
    script.begun(1).await;
    assert!(told.try_recv().is_err());
    script.release(1);
    assert_eq!(told.recv().await, Some(Answer::delivered(4)));
    queue.drain(soon()).await;
    assert_eq!(told.recv().await, Some(Answer::delivered(5)));
    drop(queue.try_push(awaited(6)).unwrap_err());
    assert_eq!(told.recv().await, Some(Answer::dropped(6)));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_gets_it_in_turn() {
    let script = Scripted::new([Step::Wait, Step::Wait, Step::Wait, Step::Wait]);
    let (queue, _books) = queue(&script, config(1, MIB, 1, OnFull::Wait));
    let queue = Arc::new(queue);
    queue.push(spans(1, "0")).await.unwrap();
    script.begun(1).await;

    let mut pushes = Vec::new();
    for name in ["1", "2", "3"] {
        let queue = Arc::clone(&queue);
        pushes.push(tokio::spawn(async move { queue.push(spans(1, name)).await.unwrap() }));
        // Each is in line before the next comes.
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        script.release(1);
        script.begun(1).await;
    }
    script.release(1);
    for push in pushes {
        push.await.unwrap();
    }
    let expected: Vec<_> = ["0", "1", "2", "3"].map(|name| spans(1, name).to_bytes()).into();
    assert_eq!(script.requests(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_room_that_is_dropped_takes_nothing_with_it() {
    let script = Scripted::new([Step::Wait]);
    let waiting = spans(2, "waiting");
    let (queue, books) = queue(&script, config(1, waiting.bytes(), 1, OnFull::Wait));
    queue.push(spans(1, "in flight")).await.unwrap();
    let patience = Duration::from_secs(1);
    assert!(tokio::time::timeout(patience, queue.reserve(&waiting)).await.is_err());

    script.release(1);
    // A permit that is not used gives its room back; one that is used for less, the rest.
    drop(queue.reserve(&waiting).await.unwrap());
    queue.reserve(&waiting).await.unwrap().push(spans(1, "less")).unwrap();
    queue.reserve(&waiting).await.unwrap().push(waiting).unwrap();
    queue.drain(soon()).await;
    assert_eq!(books.counts().delivered, 4);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_waits_and_gives_payloads_back() {
    let script = Scripted::new([Step::Wait]);
    let (queue, books) = queue(&script, config(1, MIB, 1, OnFull::Wait));
    let queue = Arc::new(queue);
    queue.push(spans(1, "in flight")).await.unwrap();
    script.begun(1).await;
    let waits: Vec<_> = (0..3)
        .map(|_| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.push(spans(1, "waits")).await })
        })
        .collect();
    tokio::task::yield_now().await;
    queue.close();
    for wait in waits {
        assert!(matches!(wait.await.unwrap(), Err(Refused::Closed(_))));
    }
    assert!(matches!(queue.try_push(spans(1, "late")), Err(Refused::Closed(_))));
    script.release(1);
    queue.drain(soon()).await;
    assert_eq!(books.counts().outcomes, 1);
}

#[tokio::test(start_paused = true)]
async fn with_one_consumer_payloads_leave_in_order() {
    let script = Scripted::new([]);
    let (queue, _books) = queue(&script, config(1000, MIB, 1, OnFull::Reject));
    let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for name in &names {
        queue.try_push(spans(1, name)).unwrap();
    }
    queue.drain(soon()).await;
    let expected: Vec<_> = names.iter().map(|name| spans(1, name).to_bytes()).collect();
    assert_eq!(script.requests(), expected);
}

#[tokio::test(start_paused = true)]
async fn so_many_exports_run_at_a_time_as_there_are_consumers() {
    let script = Scripted::new((0..6).map(|_| Step::Wait));
    let (queue, books) = queue(&script, config(1000, MIB, 4, OnFull::Reject));
    let payload = spans(2, "a");
    for _ in 0..6 {
        queue.try_push(payload.clone()).unwrap();
    }
    script.begun(4).await;
    tokio::task::yield_now().await;
    let bytes = payload.bytes();
    let expected = QueueStats {
        queued_requests: 2,
        queued_items: 4,
        queued_bytes: 2 * bytes,
        in_flight_requests: 4,
        in_flight_items: 8,
        in_flight_bytes: 4 * bytes,
    };
    assert_eq!(queue.stats(), expected);
    assert_eq!(books.counts().started, 8);
    script.release(6);
    queue.drain(soon()).await;
    assert_eq!(queue.stats(), QueueStats::default());
}

#[tokio::test(start_paused = true)]
async fn every_item_has_one_outcome() {
    let steps = (0..300).map(|n| match n % 5 {
        0 => Step::Deliver,
        1 => Step::Reject(2),
        2 => Step::Fail(ExportError::Permanent("no".into())),
        3 => Step::Fail(ExportError::Transient("not now".into())),
        _ => Step::Panic,
    });
    let script = Scripted::new(steps);
    let (queue, books) = queue(&script, config(50, MIB, 3, OnFull::Wait));
    for _ in 0..300 {
        queue.push(spans(3, "a")).await.unwrap();
    }
    assert_eq!(queue.drain(soon()).await, Drained::default());
    let expected = Counts {
        started: 900,
        outcomes: 300,
        delivered: 60 * 3 + 60,
        rejected: 60 * 2,
        failed: 60 * 6,
        gave_up: 60 * 3,
        panicked: 60 * 3,
        abandoned: 0,
    };
    assert_eq!(books.counts(), expected);
    assert_eq!(books.counts().items(), 900);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_abandons_the_rest_and_says_how_much() {
    let script = Scripted::new([Step::Deliver, Step::Wait, Step::Wait]);
    let (queue, books) = queue(&script, config(1000, MIB, 2, OnFull::Reject));
    let payload = spans(5, "a");
    for _ in 0..10 {
        queue.try_push(payload.clone()).unwrap();
    }
    let start = Instant::now();
    let drained = queue.drain(start + Duration::from_secs(3)).await;
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    let expected = Drained {
        abandoned_requests: 9,
        abandoned_items: 45,
        abandoned_bytes: 9 * payload.bytes() as u64,
    };
    assert_eq!(drained, expected);
    // Those that were in flight are dropped, and not counted twice for it.
    tokio::task::yield_now().await;
    script.release(2);
    tokio::task::yield_now().await;
    assert_eq!(queue.drain(soon()).await, Drained::default());
    drop(queue);
    let counts = books.counts();
    assert_eq!((counts.delivered, counts.abandoned, counts.outcomes), (5, 45, 10));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_queue_abandons_what_it_holds() {
    let script = Scripted::new([Step::Wait]);
    let (queue, books) = queue(&script, config(1000, MIB, 1, OnFull::Reject));
    for _ in 0..4 {
        queue.try_push(spans(1, "a")).unwrap();
    }
    script.begun(1).await;
    drop(queue);
    assert_eq!(books.counts().abandoned, 4);
    tokio::task::yield_now().await;
    assert_eq!(books.counts().outcomes, 4);
}

#[test]
fn a_dropped_runtime_loses_no_count() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let script = Scripted::new([Step::Wait]);
    let (queue, books) = runtime.block_on(async {
        let (queue, books) = queue(&script, config(1000, MIB, 1, OnFull::Reject));
        queue.try_push(spans(1, "a")).unwrap();
        queue.try_push(spans(2, "b")).unwrap();
        script.begun(1).await;
        (queue, books)
    });
    drop(runtime);
    assert_eq!(books.counts().abandoned, 1);
    drop(queue);
    assert_eq!(books.counts().abandoned, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_blocks_its_thread_does_not_hold_a_drain_up() {
    /// Blocks until it hears from the test.
    #[derive(Debug)]
    struct Blocks(Mutex<std::sync::mpsc::Receiver<()>>, tokio::sync::Semaphore);

    #[derive(Clone, Debug)]
    struct Shared(Arc<Blocks>);

    impl teleflow_exporter::Exporter for Shared {
        async fn export(
            &self,
            _payload: Payload,
        ) -> Result<teleflow_exporter::Delivered, ExportError> {
            self.0.1.add_permits(1);
            let _ = self.0.0.lock().unwrap().recv();
            Ok(teleflow_exporter::Delivered::ALL)
        }
    }

    let (wake, receiver) = std::sync::mpsc::channel();
    let exporter = Shared(Arc::new(Blocks(Mutex::new(receiver), tokio::sync::Semaphore::new(0))));
    let books = Arc::new(Books::default());
    let config = config(10, MIB, 1, OnFull::Reject);
    let any = AnyExporter::new(exporter.clone());
    let queue = Queue::spawn(any, config, Arc::clone(&books) as Arc<dyn Observer>);
    queue.try_push(spans(7, "a")).unwrap();
    exporter.0.1.acquire().await.unwrap().forget();

    assert_eq!(queue.drain(Instant::now()).await.abandoned_items, 7);
    wake.send(()).unwrap();
    drop(queue);
    assert_eq!(books.counts(), Counts { started: 7, outcomes: 1, abandoned: 7, ..books.counts() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_drain_waits_for_an_outcome_that_is_being_told() {
    /// Is told an outcome for as long as the test likes.
    #[derive(Debug)]
    struct Slow(Mutex<std::sync::mpsc::Receiver<()>>, tokio::sync::Semaphore);

    impl Observer for Slow {
        fn outcome(&self, _signal: Signal, _items: u64, _outcome: Outcome<'_>) {
            self.1.add_permits(1);
            let _ = self.0.lock().unwrap().recv();
        }
    }

    let (wake, receiver) = std::sync::mpsc::channel();
    let slow = Arc::new(Slow(Mutex::new(receiver), tokio::sync::Semaphore::new(0)));
    let config = config(10, MIB, 1, OnFull::Reject);
    let any = AnyExporter::new(Scripted::new([]));
    let queue = Queue::spawn(any, config, Arc::clone(&slow) as Arc<dyn Observer>);
    queue.try_push(spans(1, "a")).unwrap();
    slow.1.acquire().await.unwrap().forget();

    let mut drain = std::pin::pin!(queue.drain(Instant::now()));
    assert!(futures_util::poll!(&mut drain).is_pending());
    wake.send(()).unwrap();
    assert_eq!(drain.await, Drained::default());
}

#[tokio::test(start_paused = true)]
async fn a_payload_without_items_is_not_sent() {
    let script = Scripted::new([]);
    let (queue, books) = queue(&script, config(1, MIB, 1, OnFull::Reject));
    for _ in 0..3 {
        // An envelope around nothing.
        let empty = Payload::parse(Signal::Logs, b"\x0a\x00"[..].into()).unwrap();
        queue.try_push(empty).unwrap();
    }
    queue.drain(soon()).await;
    assert_eq!(script.requests().len(), 0);
    assert_eq!(books.counts().outcomes, 0);
}

/// Pushes, waits that are given up, panics and deadlines at random: each item that was taken has
/// one outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_balance_whatever_happens() {
    let mut sum = Counts::default();
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let steps = (0..100).map(|_| match rng.u8(..6) {
            0 => Step::Reject(1),
            1 => Step::Fail(ExportError::Permanent("no".into())),
            2 => Step::Fail(ExportError::Transient("not now".into())),
            3 => Step::Panic,
            4 => Step::Wait,
            _ => Step::Deliver,
        });
        let script = Scripted::new(steps.collect::<Vec<_>>());
        let limit = config(rng.usize(1..8), rng.usize(100..400), rng.usize(1..5), OnFull::Wait);
        let (queue, books) = queue(&script, limit);
        let queue = Arc::new(queue);
        let done = Arc::new(tokio::sync::Semaphore::new(0));
        let pushers: Vec<_> = (0..4)
            .map(|_| {
                let (queue, script, mut rng) = (Arc::clone(&queue), script.clone(), rng.fork());
                let done = Arc::clone(&done);
                tokio::spawn(async move {
                    let mut taken = 0;
                    for _ in 0..20 {
                        let payload = spans(rng.u64(1..9), "a span");
                        let items = payload.items();
                        let patience = Duration::from_micros(rng.u64(..200));
                        let pushed = match rng.u8(..3) {
                            0 => queue.try_push(payload).is_ok(),
                            1 => {
                                match tokio::time::timeout(patience, queue.reserve(&payload)).await
                                {
                                    Ok(Ok(permit)) if rng.bool() => permit.push(payload).is_ok(),
                                    _ => false,
                                }
                            }
                            _ => {
                                script.release(usize::from(rng.u8(..4) == 0));
                                queue.push(payload).await.is_ok()
                            }
                        };
                        taken += if pushed { items } else { 0 };
                        done.add_permits(1);
                    }
                    taken
                })
            })
            .collect();
        // All pushes, or some of them: the pushers are still at it then, or stuck.
        let patience = Duration::from_micros(rng.u64(..5000));
        let _ = tokio::time::timeout(patience, done.acquire_many(rng.u32(..=80))).await;
        if rng.bool() {
            script.release(1000);
        }
        let patience = Duration::from_micros(if rng.bool() { 0 } else { rng.u64(..5000) });
        let drained = queue.drain(Instant::now() + patience).await;
        let mut taken = 0;
        for pusher in pushers {
            taken += pusher.await.unwrap();
        }
        let counts = books.counts();
        assert_eq!(counts.items(), taken, "seed {seed}");
        assert_eq!(counts.abandoned, drained.abandoned_items, "seed {seed}");
        assert_eq!(queue.stats(), QueueStats::default(), "seed {seed}");

        sum.delivered += counts.delivered;
        sum.abandoned += counts.abandoned;
        sum.panicked += counts.panicked;
    }
    // All of it did happen.
    assert!(sum.delivered > 0 && sum.abandoned > 0 && sum.panicked > 0, "{sum:?}");
}
