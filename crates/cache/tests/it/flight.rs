//! R6: single flight.

use std::cell::Cell;

use proptest::prelude::*;
use teleflow_cache::{Flight, LoadError, OnFailure};

use crate::tasks::{Ended, Tasks, step_aside};

type Numbers = Flight<u32, u32, &'static str>;

const BOTH: [OnFailure; 2] = [OnFailure::Share, OnFailure::TakeOver];

/// What a load does after its steps.
#[derive(Clone, Copy, Debug)]
enum End {
    Value,
    Error,
    Panic,
}

/// Counts loads, and fails when two of one key run at the same time.
#[derive(Default)]
struct Source {
    running: Cell<u32>,
    loads: Cell<u32>,
    ended: Cell<u32>,
}

struct Running<'a>(&'a Source);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}

impl Source {
    async fn load(&self, steps: usize, end: End) -> Result<u32, &'static str> {
        assert_eq!(self.running.replace(self.running.get() + 1), 0, "two loads at a time");
        let _running = Running(self);
        self.loads.set(self.loads.get() + 1);
        for _ in 0..steps {
            step_aside().await;
        }
        self.ended.set(self.ended.get() + 1);
        match end {
            End::Value => Ok(self.loads.get()),
            End::Error => Err("on purpose"),
            End::Panic => panic!("on purpose"),
        }
    }
}

#[test]
fn r6_a_thousand_who_ask_at_the_same_time_make_one_load() {
    let flight = Numbers::new(OnFailure::Share);
    let source = Source::default();
    let mut tasks = Tasks::new();
    for _ in 0..1000 {
        tasks.add(flight.run(&1, || source.load(3, End::Value)));
    }
    tasks.run();
    assert_eq!(source.loads.get(), 1);
    for index in 0..1000 {
        assert!(matches!(tasks.ended(index), Some(Ended::Returned(Ok(1)))));
    }
    let stats = flight.stats();
    assert_eq!((stats.led, stats.joined, stats.in_flight), (1, 999, 0));
}

#[test]
fn r6_keys_do_not_wait_for_each_other() {
    let flight = Numbers::new(OnFailure::Share);
    let sources: Vec<Source> = (0..100).map(|_| Source::default()).collect();
    let keys: Vec<u32> = (0..100).collect();
    let mut tasks = Tasks::new();
    for (key, source) in keys.iter().zip(&sources) {
        // The first one never ends.
        let steps = if *key == 0 { usize::MAX } else { 1 };
        tasks.add(flight.run(key, move || source.load(steps, End::Value)));
    }
    for _ in 0..2 {
        (0..100).for_each(|index| {
            tasks.step(index);
        });
    }
    assert_eq!(tasks.stuck(), 1);
    assert_eq!(flight.stats().in_flight, 1);
    tasks.cancel(0);
    assert_eq!(flight.stats().in_flight, 0);
}

#[test]
fn r6_a_failed_load_is_shared_or_taken_over() {
    for on_failure in BOTH {
        let flight = Numbers::new(on_failure);
        let source = Source::default();
        let mut tasks = Tasks::new();
        for _ in 0..4 {
            tasks.add(flight.run(&1, || source.load(1, End::Error)));
        }
        tasks.run();
        for index in 0..4 {
            let Some(Ended::Returned(Err(LoadError::Failed(error)))) = tasks.ended(index) else {
                panic!("{:?}", tasks.ended(index));
            };
            assert_eq!(**error, "on purpose");
        }
        let stats = flight.stats();
        let loads = if on_failure == OnFailure::Share { 1 } else { 4 };
        assert_eq!(u64::from(source.loads.get()), loads);
        assert_eq!((stats.led, stats.failed), (loads, loads));
        assert_eq!((stats.taken_over, stats.joined), (loads - 1, 4 - loads));
        assert_eq!(stats.in_flight, 0);
    }
}

#[test]
fn r6_a_panic_stays_with_its_task_and_releases_the_others() {
    for on_failure in BOTH {
        for steps in 0..3 {
            let flight = Numbers::new(on_failure);
            let source = Source::default();
            let mut tasks = Tasks::new();
            tasks.add(flight.run(&1, || source.load(steps, End::Panic)));
            for _ in 0..3 {
                tasks.add(flight.run(&1, || source.load(steps, End::Value)));
            }
            // All are there before the first one panics, unless it does at once.
            (0..4).for_each(|index| {
                tasks.step(index);
            });
            tasks.run();
            assert!(matches!(tasks.ended(0), Some(Ended::Panicked)));
            for index in 1..4 {
                match tasks.ended(index) {
                    Some(Ended::Returned(Err(LoadError::Panicked))) => {
                        assert_eq!((on_failure, steps != 0), (OnFailure::Share, true));
                    }
                    Some(Ended::Returned(Ok(_))) => {
                        assert!(on_failure == OnFailure::TakeOver || steps == 0);
                    }
                    ended => panic!("{ended:?}"),
                }
            }
            assert_eq!((flight.stats().panicked, flight.stats().in_flight), (1, 0));
        }
    }
}

#[test]
fn r6_a_closure_that_panics_before_there_is_a_future_is_a_panicked_load() {
    let flight = Numbers::new(OnFailure::Share);
    let mut tasks = Tasks::new();
    tasks.add(
        flight
            .run(&1, || -> std::future::Ready<Result<u32, &'static str>> { panic!("on purpose") }),
    );
    tasks.run();
    assert!(matches!(tasks.ended(0), Some(Ended::Panicked)));
    let stats = flight.stats();
    assert_eq!((stats.led, stats.panicked, stats.cancelled, stats.in_flight), (1, 1, 0, 0));
}

/// Every place at which the leader can be dropped, and every place at which the next in line can:
/// before its first poll, while it waits, after it was woken to lead and has not run, while it
/// loads.
#[test]
fn r6_cancelled_at_any_await_point_the_next_in_line_loads() {
    const STEPS: usize = 3;
    for leader_polls in 0..=STEPS + 1 {
        for next_polls in 0..=STEPS + 1 {
            let flight = Numbers::new(OnFailure::Share);
            let source = Source::default();
            let mut tasks = Tasks::new();
            for _ in 0..4 {
                tasks.add(flight.run(&1, || source.load(STEPS, End::Value)));
            }
            (0..leader_polls).for_each(|_| {
                tasks.step(0);
            });
            (1..4).for_each(|index| {
                tasks.step(index);
            });
            let leader_was_there = tasks.cancel(0);
            (0..next_polls).for_each(|_| {
                tasks.step(1);
            });
            tasks.cancel(1);
            tasks.run();
            assert_eq!(tasks.stuck(), 0, "{leader_polls} {next_polls}");
            for index in 2..4 {
                assert!(matches!(tasks.ended(index), Some(Ended::Returned(Ok(_)))));
            }
            let stats = flight.stats();
            assert_eq!(stats.in_flight, 0);
            assert_eq!(stats.led, u64::from(source.loads.get()));
            assert_eq!(source.running.get(), 0);
            assert_eq!(leader_was_there, leader_polls <= STEPS);
            assert_eq!(stats.led, stats.cancelled + u64::from(source.ended.get()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any order of asking, polling and dropping, with loads that return, fail and panic: two loads
    /// of a key never run at the same time, everyone who stays gets an outcome, and nothing is left.
    #[test]
    fn r6_nobody_waits_for_ever_whatever_the_others_do(
        share in any::<bool>(),
        ends in proptest::collection::vec((0..4_usize, 0..3_u8, 0..2_usize), 1..12),
        moves in proptest::collection::vec((0..12_usize, 0..8_u8), 0..80),
    ) {
        let flight = Numbers::new(if share { OnFailure::Share } else { OnFailure::TakeOver });
        let sources = [Source::default(), Source::default()];
        let mut tasks = Tasks::new();
        for (steps, end, key) in &ends {
            let end = [End::Value, End::Error, End::Panic][usize::from(*end)];
            let source = &sources[*key];
            tasks.add(flight.run(&[1, 2][*key], move || source.load(*steps, end)));
        }
        let mut cancelled = 0;
        for (index, what) in moves {
            let index = index % tasks.len();
            match what {
                0 => cancelled += usize::from(tasks.cancel(index)),
                _ => {
                    tasks.step(index);
                }
            }
        }
        tasks.run();
        prop_assert_eq!(tasks.stuck(), 0);
        let ended = (0..tasks.len()).filter(|index| tasks.ended(*index).is_some()).count();
        prop_assert_eq!(ended + cancelled, tasks.len());
        let stats = flight.stats();
        prop_assert_eq!(stats.in_flight, 0);
        let loads = sources.iter().map(|source| u64::from(source.loads.get())).sum::<u64>();
        prop_assert_eq!(stats.led, loads);
        let panicked = (0..tasks.len())
            .filter(|index| matches!(tasks.ended(*index), Some(Ended::Panicked)))
            .count();
        prop_assert_eq!(panicked as u64, stats.panicked);
    }
}
