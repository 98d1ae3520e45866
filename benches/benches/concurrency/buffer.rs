//! A buffer that finds its size, in bursts.
//!
//! 20 000 items come at once, three times, and each takes a microsecond to work off: a small buffer
//! holds the sender up, a large one keeps its room all day. Shown are how long the sender is held
//! up, how long it takes until all is received, and what there is room for after the burst.

use std::sync::Arc;
use std::time::{Duration, Instant};

use teleflow_benches::report::{Better, Report, Rival};
use teleflow_concurrency::{AdaptiveBuffer, AdaptiveBufferConfig};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const BURSTS: usize = 3;
const BURST: usize = 20_000;
const SMALL: usize = 64;
const LARGE: usize = 1 << 15;
const WORK: Duration = Duration::from_micros(1);
/// A fraction of the length of a burst.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// Between bursts: more than the looks that it takes to shrink, at a timer's millisecond each.
const QUIET: Duration = Duration::from_millis(40);
/// Runs of each contender, which take turns.
const SAMPLES: usize = 5;

/// What a burst was like, in the mean.
#[derive(Clone, Copy)]
struct Burst {
    /// Nanoseconds an item until the sender is done.
    sent: f64,
    /// Nanoseconds an item until the receiver is.
    received: f64,
    /// Items there is room for when all were sent.
    room: f64,
    /// And when it was quiet after that.
    room_later: f64,
}

pub(crate) fn run(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime can be made");
    let mut samples: [Vec<Burst>; 4] = Default::default();
    for _ in 0..SAMPLES {
        samples[0].push(ours(&runtime, SMALL, LARGE));
        samples[1].push(ours(&runtime, SMALL, SMALL));
        samples[2].push(ours(&runtime, LARGE, LARGE));
        samples[3].push(channel(&runtime, SMALL));
    }
    let figure = |contender: usize, of: fn(&Burst) -> f64| {
        let mut values: Vec<f64> = samples[contender].iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let names = ["", "fixed at 64 items", "fixed at 32 768 items", "tokio mpsc of 64 items"];
    let mut rows = |metric: &str, unit, of: fn(&Burst) -> f64, rivals: &[usize]| {
        for &rival in rivals {
            let metric = format!("concurrency/adaptive_buffer/{metric}");
            let rival = Rival { name: names[rival], value: figure(rival, of) };
            report.row(metric, unit, Better::Lower, figure(0, of), Some(rival));
        }
    };
    rows("burst", "ns/item", |burst| burst.sent, &[1, 3, 2]);
    rows("received", "ns/item", |burst| burst.received, &[1, 3, 2]);
    rows("room_in_burst", "items", |burst| burst.room, &[1, 2]);
    rows("room_after", "items", |burst| burst.room_later, &[1, 2]);
    report.note(
        "adaptive_buffer: 20 000 items at once, a microsecond of work each; burst is how long the \
         sender takes, received how long all does, room what it keeps memory for",
    );
}

/// The buffer between these sizes: fixed where they are the same.
fn ours(runtime: &Runtime, min: usize, max: usize) -> Burst {
    let config = AdaptiveBufferConfig { min, max, look_every: LOOK_EVERY };
    let buffer = Arc::new(AdaptiveBuffer::new(config).expect("it makes sense"));
    runtime.block_on(async {
        let (done, mut bursts) = mpsc::channel(1);
        let receiver = tokio::spawn({
            let buffer = Arc::clone(&buffer);
            async move {
                let mut received = 0;
                while buffer.recv().await.is_some() {
                    work();
                    received += 1;
                    if received % BURST == 0 {
                        done.send(Instant::now()).await.expect("it is waited for");
                    }
                }
            }
        });
        // A task, as the main thread is no worker.
        let sender = tokio::spawn(async move {
            let mut all = Burst { sent: 0.0, received: 0.0, room: 0.0, room_later: 0.0 };
            for _ in 0..BURSTS {
                let start = Instant::now();
                for n in 0..BURST {
                    buffer.send(n).await.expect("it is open");
                }
                all.sent += per_item(start.elapsed());
                all.room += buffer.stats().capacity as f64 / BURSTS as f64;
                let end = bursts.recv().await.expect("the receiver says so");
                all.received += per_item(end - start);
                tokio::time::sleep(QUIET).await;
                all.room_later += buffer.stats().capacity as f64 / BURSTS as f64;
            }
            buffer.close();
            all
        });
        let all = sender.await.expect("it does not panic");
        receiver.await.expect("it does not panic");
        all
    })
}

/// What one takes without this crate.
fn channel(runtime: &Runtime, size: usize) -> Burst {
    runtime.block_on(async {
        let (done, mut bursts) = mpsc::channel(1);
        let (items, mut inside) = mpsc::channel(size);
        let receiver = tokio::spawn(async move {
            let mut received = 0;
            while inside.recv().await.is_some() {
                work();
                received += 1;
                if received % BURST == 0 {
                    done.send(Instant::now()).await.expect("it is waited for");
                }
            }
        });
        let sender = tokio::spawn(async move {
            let room = size as f64;
            let mut all = Burst { sent: 0.0, received: 0.0, room, room_later: room };
            for _ in 0..BURSTS {
                let start = Instant::now();
                for n in 0..BURST {
                    items.send(n).await.expect("it is open");
                }
                all.sent += per_item(start.elapsed());
                let end = bursts.recv().await.expect("the receiver says so");
                all.received += per_item(end - start);
                tokio::time::sleep(QUIET).await;
            }
            all
        });
        let all = sender.await.expect("it does not panic");
        receiver.await.expect("it does not panic");
        all
    })
}

fn work() {
    let start = Instant::now();
    while start.elapsed() < WORK {
        std::hint::spin_loop();
    }
}

fn per_item(time: Duration) -> f64 {
    time.as_nanos() as f64 / (BURST * BURSTS) as f64
}
