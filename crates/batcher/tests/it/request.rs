//! Requests of any kind in one call: who gets what.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::join_all;
use teleflow_batcher::{
    ConfigError, Overflow, RequestBatcher, RequestConfig, RequestError, RequestStats, WaitRange,
};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);

type Doubler = RequestBatcher<u64, u64, String>;

/// Answers with the double; tells what each call had.
fn doubler(config: RequestConfig) -> (Doubler, Arc<Mutex<Vec<Vec<u64>>>>) {
    let calls: Arc<Mutex<Vec<Vec<u64>>>> = Arc::default();
    let seen = Arc::clone(&calls);
    let call = move |numbers: Vec<u64>| {
        seen.lock().unwrap().push(numbers.clone());
        async move {
            sleep(10 * MS).await;
            match numbers[0] {
                1000 => panic!("one thousand"),
                2000 => Err("two thousand".to_owned()),
                3000 => Ok(vec![1]),
                _ => Ok(numbers.iter().map(|n| n * 2).collect()),
            }
        }
    };
    (RequestBatcher::new(config, call).unwrap(), calls)
}

/// The books of requests.
#[track_caller]
pub(crate) fn check_books(stats: &RequestStats, held: u64) {
    let RequestStats { accepted, answered, failed, taken_out, discarded, .. } = *stats;
    assert_eq!(stats.held, held, "{stats:?}");
    assert_eq!(accepted, answered + failed + taken_out + discarded + held, "{stats:?}");
}

fn sizes(calls: &Mutex<Vec<Vec<u64>>>) -> Vec<usize> {
    calls.lock().unwrap().iter().map(Vec::len).collect()
}

#[tokio::test(start_paused = true)]
async fn b4_each_caller_gets_its_own_answer() {
    let config = RequestConfig { min_requests: 10, max_requests: 10, ..Default::default() };
    let (batcher, calls) = doubler(config);
    let answers = join_all((0..95).map(|n| {
        let batcher = batcher.clone();
        async move { batcher.call(n).await.unwrap() }
    }))
    .await;
    assert_eq!(answers, (0..95).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(sizes(&calls), [vec![10; 9], vec![5]].concat());
    let stats = batcher.stats();
    assert_eq!((stats.batches, stats.by_requests, stats.by_age), (10, 9, 1));
    assert_eq!((stats.answered, stats.call.count), (95, 10));
    check_books(&stats, 0);
}

#[tokio::test(start_paused = true)]
async fn b4_a_batch_that_fails_fails_its_own_callers_only() {
    let config = RequestConfig { min_requests: 4, max_requests: 4, ..Default::default() };
    let (batcher, _) = doubler(config);
    let numbers = [1000, 1, 2, 3, 2000, 4, 5, 6, 3000, 7, 8, 9, 10, 11, 12, 13];
    let answers = join_all(numbers.map(|n| {
        let batcher = batcher.clone();
        async move { batcher.call(n).await }
    }))
    .await;
    for answer in &answers[..4] {
        assert!(matches!(answer, Err(RequestError::Panicked(text)) if **text == *"one thousand"));
    }
    for answer in &answers[4..8] {
        assert!(matches!(answer, Err(RequestError::Failed(text)) if **text == "two thousand"));
    }
    for answer in &answers[8..12] {
        let error = answer.as_ref().unwrap_err();
        assert_eq!(error.to_string(), "the call returned 1 answers to 4 requests");
    }
    for (answer, n) in answers[12..].iter().zip(10..) {
        assert_eq!(*answer.as_ref().unwrap(), n * 2);
    }
    let stats = batcher.stats();
    assert_eq!((stats.failed_batches, stats.failed, stats.answered), (3, 12, 4));
    check_books(&stats, 0);
}

#[tokio::test(start_paused = true)]
async fn b4_calls_in_flight_are_bounded_and_batches_fill_up_meanwhile() {
    let (now_in, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, peak) = (Arc::clone(&now_in), Arc::clone(&most));
    let config = RequestConfig {
        min_requests: 1,
        max_requests: 50,
        in_flight: 3,
        timeout: Duration::ZERO,
        ..Default::default()
    };
    let batcher: RequestBatcher<u64, u64, String> =
        RequestBatcher::new(config, move |n: Vec<u64>| {
            let (inside, peak) = (Arc::clone(&inside), Arc::clone(&peak));
            async move {
                peak.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                sleep(10 * MS).await;
                inside.fetch_sub(1, Ordering::Relaxed);
                Ok(n)
            }
        })
        .unwrap();
    let start = Instant::now();
    let answers = join_all((0..600).map(|n| {
        let batcher = batcher.clone();
        async move {
            // Three come alone, the others while those are in flight.
            sleep(MS * u32::try_from(n.min(3)).unwrap()).await;
            batcher.call(n).await.unwrap()
        }
    }))
    .await;
    assert_eq!(answers, (0..600).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::Relaxed), 3);
    assert_eq!(batcher.stats().batches, 3 + 12, "the others went 50 at a time");
    assert!(start.elapsed() <= 60 * MS, "{:?}", start.elapsed());
    check_books(&batcher.stats(), 0);
}

#[tokio::test(start_paused = true)]
async fn b4_a_batch_leaves_early_for_a_deadline_and_a_deadline_ends_a_call() {
    let config = RequestConfig { timeout: 1000 * MS, ..Default::default() };
    let (batcher, _) = doubler(config);
    let start = Instant::now();
    let patient = {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.call(1).await })
    };
    assert_eq!(batcher.call_by(2, start + 100 * MS).await.unwrap(), 4);
    assert_eq!(start.elapsed(), 90 * MS, "20 ms before the deadline, and the call takes 10");
    assert_eq!(patient.await.unwrap().unwrap(), 2, "it went along");
    assert_eq!(batcher.stats().by_deadline, 1);
    // Now it knows that a call takes 10 ms, give or take 5.
    let start = Instant::now();
    assert_eq!(batcher.call_by(3, start + 100 * MS).await.unwrap(), 6);
    assert_eq!(start.elapsed(), 75 * MS, "10 + 4 x 5 + 5 before it, and 10 for the call");

    let error = batcher.call_by(4, start).await.unwrap_err();
    assert!(matches!(error, RequestError::DeadlinePassed));
    let start = Instant::now();
    let error = batcher.call_by(5, start + 5 * MS).await.unwrap_err();
    assert!(matches!(error, RequestError::DeadlinePassed));
    assert_eq!(start.elapsed(), 5 * MS);
    batcher.close().await;
    let stats = batcher.stats();
    assert_eq!((stats.expired, stats.discarded, stats.accepted), (2, 1, 4));
    check_books(&stats, 0);
}

#[tokio::test(start_paused = true)]
async fn b4_what_happens_when_the_queue_is_full_is_a_choice() {
    for overflow in [Overflow::Wait, Overflow::Refuse] {
        let config = RequestConfig {
            min_requests: 1,
            max_requests: 1,
            in_flight: 1,
            max_waiting: 2,
            overflow,
            ..Default::default()
        };
        let (batcher, calls) = doubler(config);
        let answers = join_all((0..10).map(|n| {
            let batcher = batcher.clone();
            async move {
                sleep(MS * n).await;
                batcher.call(u64::from(n)).await
            }
        }))
        .await;
        let refused = answers.iter().filter(|a| matches!(a, Err(RequestError::Full))).count();
        // One is in flight, one is the next batch, two wait.
        let expected = if overflow == Overflow::Wait { 0 } else { 6 };
        assert_eq!((refused, sizes(&calls).len()), (expected, 10 - expected), "{overflow:?}");
        assert_eq!(batcher.stats().refused, expected as u64);
        check_books(&batcher.stats(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn b4_flush_and_close_send_what_is_there() {
    let config = RequestConfig { timeout: Duration::MAX, ..Default::default() };
    let (batcher, calls) = doubler(config);
    let call = |n| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.call(n).await })
    };
    let first = call(1);
    tokio::task::yield_now().await;
    batcher.flush().await;
    assert_eq!(first.await.unwrap().unwrap(), 2);
    let others = [call(2), call(3)];
    tokio::task::yield_now().await;
    tokio::join!(batcher.close(), batcher.close());
    let stats = batcher.stats();
    check_books(&stats, 0);
    assert_eq!((stats.by_flush, stats.by_close, stats.answered), (1, 1, 3));
    for (other, expected) in others.into_iter().zip([4, 6]) {
        assert_eq!(other.await.unwrap().unwrap(), expected);
    }
    assert_eq!(sizes(&calls), [1, 2]);
    assert!(matches!(batcher.call(4).await, Err(RequestError::Closed)));
    batcher.close().await;
    batcher.flush().await;
}

#[tokio::test(start_paused = true)]
async fn b4_without_any_handle_left_the_driver_ends() {
    let (batcher, calls) = doubler(RequestConfig { timeout: 100 * MS, ..Default::default() });
    let mut call = Box::pin({
        let batcher = batcher.clone();
        async move { batcher.call(7).await }
    });
    assert!(futures::poll_once(&mut call).is_none());
    drop((call, batcher));
    assert_eq!(Arc::strong_count(&calls), 2, "the closure of the driver");
    sleep(200 * MS).await;
    assert_eq!(Arc::strong_count(&calls), 1, "nobody waits for it");
    assert_eq!(sizes(&calls), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn b2_the_wait_follows_the_time_of_real_calls() {
    let config = RequestConfig {
        timeout: 10 * MS,
        adaptive: Some(WaitRange { least: MS, most: 1000 * MS }),
        ..Default::default()
    };
    let (batcher, _) = doubler(config);
    for n in 0..10 {
        batcher.call(n).await.unwrap();
    }
    assert_eq!(batcher.wait(), 20 * MS, "twice what a call takes");
}

#[tokio::test]
async fn b4_numbers_that_make_no_sense_are_refused() {
    let new = |config| RequestBatcher::new(config, |n: Vec<u8>| async { Ok::<_, String>(n) });
    for (config, expected) in [
        (RequestConfig { in_flight: 0, ..Default::default() }, "`in_flight` must not be zero"),
        (RequestConfig { max_waiting: 0, ..Default::default() }, "`max_waiting` must not be zero"),
        (
            RequestConfig { min_requests: 0, ..Default::default() },
            "`min_requests` must not be zero",
        ),
    ] {
        assert_eq!(new(config).unwrap_err().to_string(), expected);
    }
    let config = RequestConfig { min_requests: 9, max_requests: 8, ..Default::default() };
    assert_eq!(new(config).unwrap_err(), ConfigError::MaxRequestsBelowMin { min: 9, max: 8 });
}

pub(crate) mod futures {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    /// Runs all as tasks; their results in the order of the futures.
    pub(crate) async fn join_all<F>(all: impl IntoIterator<Item = F>) -> Vec<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let tasks: Vec<_> = all.into_iter().map(tokio::spawn).collect();
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            results.push(task.await.unwrap());
        }
        results
    }

    pub(crate) fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }
}
