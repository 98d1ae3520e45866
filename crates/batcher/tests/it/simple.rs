//! What batching is for: the same backend, with and without.

use std::time::Duration;

use teleflow_batcher::{Batcher, Config};
use teleflow_otlp::{Payload, Signal};
use tokio::time::{Instant, sleep};

use crate::spans::numbered;

/// Spans in, one a payload, as fast as the backend lets them; returns how long all took.
async fn run(config: Config, spans: u64) -> (Duration, u64) {
    let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
    let (start, mut out, mut delivered, mut calls) = (Instant::now(), Vec::new(), 0, 0);
    for number in 0..spans {
        batcher.offer(Instant::now().into_std(), numbered(number..=number, 0), &mut out);
        if number == spans - 1 {
            out.extend(batcher.close());
        }
        for batch in out.drain(..) {
            calls += 1;
            delivered += backend(batch).await;
        }
    }
    assert_eq!(delivered, spans);
    (start.elapsed(), calls)
}

/// Takes 10 ms a call, however much it is given.
async fn backend(batch: Payload) -> u64 {
    sleep(Duration::from_millis(10)).await;
    batch.items()
}

#[tokio::test(start_paused = true)]
async fn b7_batching_is_a_hundred_times_as_fast_against_a_backend_of_10_ms() {
    let spans = 5_120;
    let (simple, calls) = run(Config::simple(), spans).await;
    assert_eq!((simple, calls), (Duration::from_millis(10) * 5_120, 5_120));
    // The batch size of the OpenTelemetry SDK, and its delay.
    let (batched, calls) = run(Config::hybrid(512, Duration::from_secs(5)), spans).await;
    assert_eq!(calls, 10);
    assert!(simple >= 100 * batched, "{simple:?} against {batched:?}");
}
