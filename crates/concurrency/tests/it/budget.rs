//! The byte budget, on the core of C1.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use teleflow_concurrency::{Budget, Denied, Permit};
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_child_always_has_what_it_was_guaranteed_and_borrows_the_rest() {
    let root = Budget::new("root", 100);
    let child = root.child("child", 40).unwrap();
    assert_eq!(root.child("other", 61).unwrap_err(), Denied::TooLarge { asked: 61, whole: 60 });
    let rest = root.try_take(60).unwrap();
    assert_eq!(root.try_take(1).unwrap_err(), Denied::Full);

    // Others wait for the common part; its own is there all the same.
    let mut waiter = Box::pin(root.take(10));
    assert!(poll(waiter.as_mut()).is_pending());
    let own = child.try_take(40).unwrap();
    assert_eq!(child.try_take(1).unwrap_err(), Denied::Full);
    let mut borrower = Box::pin(child.take(5));
    assert!(poll(borrower.as_mut()).is_pending());
    drop(rest);
    assert!(poll(waiter.as_mut()).is_ready());
    assert!(poll(borrower.as_mut()).is_ready());
    drop(own);
    assert_eq!((child.stats().held, child.stats().returned), (0, 45));

    drop(borrower);
    drop(child);
    assert_eq!((root.stats().whole, root.stats().available), (100, 100));
}

#[tokio::test]
async fn a_new_child_tells_those_who_now_wait_in_vain() {
    let root = Budget::new("root", 100);
    let held = root.try_take(50).unwrap();
    let mut waiter = Box::pin(root.take(80));
    assert!(poll(waiter.as_mut()).is_pending());
    // Who waits has the first right to the common part.
    assert_eq!(root.child("child", 30).unwrap_err(), Denied::Full);
    drop((held, waiter));
    let _child = root.child("child", 30).unwrap();
    assert_eq!(root.take(80).await.unwrap_err(), Denied::TooLarge { asked: 80, whole: 70 });
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait_for_bytes() {
    let root = Budget::new("root", 10);
    let held = root.take(10).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    assert_eq!(root.take_until(1, deadline).await.unwrap_err(), Denied::TimedOut);
    assert_eq!((root.stats().timed_out, root.stats().waiting), (1, 0));
    drop(held);
    root.close();
    assert_eq!(root.take(1).await.unwrap_err(), Denied::Closed);
}

#[test]
fn bytes_of_one_family_do_not_merge_across_its_members() {
    let root = Budget::new("root", 10);
    let child = root.child("child", 4).unwrap();
    let mut permit = root.try_take(3).unwrap();
    let other = permit.merge(child.try_take(3).unwrap()).unwrap_err();
    permit.shrink_to(1);
    assert_eq!((permit.bytes(), root.stats().available), (1, 5));
    drop((permit, other));
    assert_eq!(child.stats().available, 10);
}

/// Done-when 7 of the budget: ten minutes of payloads of 64 KiB that are split, merged, delayed,
/// cancelled and dropped at random, in simulated time; every byte comes back.
#[tokio::test(start_paused = true)]
async fn ten_minutes_of_split_merge_and_cancel_end_with_every_byte_back() {
    const PAYLOAD: u64 = 64 * 1024;
    const TASKS: u64 = 16;
    let root = Budget::new("root", 20 * PAYLOAD);
    let children: Vec<_> =
        (0..3).map(|n| root.child(format!("child {n}"), 3 * PAYLOAD).unwrap()).collect();
    let end = Instant::now() + Duration::from_secs(600);
    let mut tasks = Vec::new();
    for seed in 0..TASKS {
        let budget = children.get(seed as usize % 4).unwrap_or(&root).clone();
        tasks.push(tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut held: Vec<Permit> = Vec::new();
            let mut cancelled = 0_u64;
            while Instant::now() < end {
                let patience = Duration::from_millis(random.u64(0..400));
                // Every other task asks for whole payloads, the others for what comes.
                let bytes = if seed % 2 == 0 { PAYLOAD } else { random.u64(0..=2 * PAYLOAD) };
                let taken = match random.u8(0..3) {
                    0 => budget.try_take(bytes).ok(),
                    1 => budget.take_until(bytes, Instant::now() + patience).await.ok(),
                    // Dropped in the middle of the wait.
                    _ => timeout(patience, budget.take(bytes)).await.ok().and_then(Result::ok),
                };
                cancelled += u64::from(taken.is_none());
                held.extend(taken);
                if let Some(mut permit) = held.pop() {
                    let part = permit.split(random.u64(0..=permit.bytes())).unwrap();
                    held.push(permit);
                    if random.bool() {
                        held[0].merge(part).unwrap();
                    } else {
                        held.insert(0, part);
                    }
                }
                sleep(Duration::from_millis(random.u64(1..200))).await;
                let stays = random.usize(0..4);
                random.shuffle(&mut held);
                held.truncate(stays);
            }
            cancelled
        }));
    }
    let mut cancelled = 0;
    for task in tasks {
        cancelled += task.await.unwrap();
    }
    assert!(cancelled > 1000, "only {cancelled} were turned away");
    for budget in children.iter().chain([&root]) {
        let stats = budget.stats();
        assert_eq!((stats.held, stats.waiting, stats.taken), (0, 0, stats.returned));
        assert!(stats.taken > 1000 * PAYLOAD && stats.wait.count > 0, "{stats:?}");
    }
    assert_eq!(root.stats().available, 11 * PAYLOAD);
    drop(children);
    assert_eq!(root.stats().available, 20 * PAYLOAD);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The budget against sums in plain numbers.
    #[test]
    fn the_budget_agrees_with_a_model(steps in prop::collection::vec((0..5_u8, 0..3_usize, 0..60_u64), 1..80)) {
        let root = Budget::new("root", 100);
        let budgets =
            [root.clone(), root.child("a", 20).unwrap(), root.child("b", 30).unwrap()];
        let mut held: Vec<(usize, Permit)> = Vec::new();
        for (step, who, bytes) in steps {
            match step {
                0 | 1 => {
                    let sum = |who| held.iter().filter(|(of, _)| *of == who).map(|(_, p)| p.bytes()).sum::<u64>();
                    let all: u64 = (0..3).map(sum).sum();
                    let own = [0, 20, 30][who];
                    let taken = budgets[who].try_take(bytes);
                    // What it holds beyond its own may be borrowed although its own is free again,
                    // so only these two are certain.
                    if sum(who) + bytes <= own {
                        prop_assert!(taken.is_ok());
                    }
                    if all + bytes > 100 || bytes > 50 + own {
                        prop_assert!(taken.is_err());
                    }
                    held.extend(taken.ok().map(|permit| (who, permit)));
                }
                2 if !held.is_empty() => {
                    let index = bytes as usize % held.len();
                    let (of, permit) = &mut held[index];
                    let (of, part) = (*of, permit.split(bytes.min(permit.bytes())).unwrap());
                    held.push((of, part));
                }
                3 if held.len() > 1 => {
                    let (of, permit) = held.swap_remove(bytes as usize % held.len());
                    let (into, target) = &mut held[0];
                    let merged = target.merge(permit);
                    prop_assert_eq!(merged.is_ok(), *into == of);
                    held.extend(merged.err().map(|permit| (of, permit)));
                }
                4 if !held.is_empty() => {
                    drop(held.swap_remove(bytes as usize % held.len()));
                }
                _ => {}
            }
            for (who, budget) in budgets.iter().enumerate() {
                let sum: u64 = held.iter().filter(|(of, _)| *of == who).map(|(_, p)| p.bytes()).sum();
                prop_assert_eq!(budget.stats().held, sum);
            }
        }
        held.clear();
        prop_assert_eq!(budgets.each_ref().map(|budget| budget.stats().available), [50, 70, 80]);
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
