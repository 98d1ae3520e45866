//! Batches leave early enough for those who wait.

use std::time::{Duration, Instant};

use fastrand::Rng;
use teleflow_batcher::{Batcher, Config};
use teleflow_otlp::Signal;

use crate::spans::numbered;

const MS: Duration = Duration::from_millis(1);

fn batcher() -> Batcher {
    Batcher::new(Signal::Traces, Config::time_based(1000 * MS)).unwrap()
}

#[test]
fn b1_the_oldest_callers_deadline_counts_less_the_margin() {
    let (mut batcher, now, mut out) = (batcher(), Instant::now(), Vec::new());
    for (number, deadline) in [(0, None), (1, Some(600 * MS)), (2, Some(400 * MS)), (3, None)] {
        let payload = numbered(number..=number, 0);
        batcher.offer_by(now, payload, deadline.map(|after| now + after), &mut out);
    }
    assert_eq!(batcher.next_deadline(), Some(now + 300 * MS), "100 ms before the first");
    assert!(batcher.poll(now + 299 * MS).is_none());
    assert_eq!(batcher.poll(now + 300 * MS).map(|batch| batch.items()), Some(4));
    assert_eq!((batcher.stats().for_deadline, batcher.stats().timed_out), (1, 0));
    assert!(out.is_empty());
}

#[test]
fn b1_a_deadline_that_is_near_sends_at_once_and_one_that_passed_does_nothing() {
    let (mut batcher, now, mut out) = (batcher(), Instant::now(), Vec::new());
    batcher.offer_by(now, numbered(0..1, 0), Some(now), &mut out);
    assert_eq!(batcher.next_deadline(), Some(now + 1000 * MS));
    batcher.offer_by(now, numbered(0..1, 0), Some(now + 50 * MS), &mut out);
    assert_eq!(out.iter().map(|batch| batch.items()).collect::<Vec<_>>(), [2]);
    // Later than the wait, it changes nothing.
    batcher.offer_by(now, numbered(0..1, 0), Some(now + 5000 * MS), &mut out);
    assert_eq!(batcher.next_deadline(), Some(now + 1000 * MS));
}

/// Exports take 20 to 60 ms; callers give 150 ms to 2 s. Every one that the batcher has learnt the
/// export time for is answered in time.
#[test]
fn b1_deadlines_are_met_in_simulated_time() {
    for seed in 0..50 {
        let mut rng = Rng::with_seed(seed);
        let (mut batcher, mut now) = (batcher(), Instant::now());
        let (mut waiting, mut out) = (Vec::new(), Vec::new());
        let mut early = 0;
        for step in 0..3000 {
            let next = now + MS * rng.u32(..20);
            // Nobody offers before what is due is taken out, as a lane does it.
            let due = batcher.next_deadline().filter(|&due| due <= next);
            now = due.unwrap_or(next);
            match due {
                Some(_) => out.extend(batcher.poll(now)),
                None => {
                    let deadline = now + MS * rng.u32(150..2000);
                    waiting.push(deadline);
                    batcher.offer_by(now, numbered(0..1, 0), Some(deadline), &mut out);
                }
            }
            for _ in out.drain(..) {
                let took = MS * rng.u32(20..60);
                let first = waiting.drain(..).min().unwrap();
                assert!(step < 300 || now + took <= first, "seed {seed}, step {step}");
                batcher.exported(took);
            }
            early = batcher.stats().for_deadline;
        }
        assert!(early > 10, "deadlines did matter: {early} times");
        assert!(batcher.margin() >= 20 * MS && batcher.margin() <= 200 * MS);
    }
}
