//! Random operations against models that are too simple to be wrong.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use proptest::prelude::*;
use teleflow_pool::ring::{ByteRing, spsc};
use teleflow_pool::{Pairs, Pool};

#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire,
    /// Returns one that is held; what it was grown to.
    Return(usize, usize),
    Clear,
    Detach(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Acquire),
        5 => (any::<usize>(), 0..200_usize).prop_map(|(at, size)| Step::Return(at, size)),
        1 => Just(Step::Clear),
        1 => any::<usize>().prop_map(Step::Detach),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// P1, P2: on one thread the pool is a stack with two bounds, and its figures are exact.
    #[test]
    fn a_pool_is_a_bounded_stack(
        steps in prop::collection::vec(step(), 1..400),
        capacity in 0..80_usize,
        max_bytes in 0..5000_usize,
        threads in 1..5_usize,
    ) {
        let pool = Pool::builder(|| Vec::<u8>::with_capacity(10))
            .reset(Vec::clear)
            .capacity(capacity)
            .max_bytes(max_bytes, Vec::capacity)
            .threads(NonZeroUsize::new(threads).unwrap())
            .build();
        let mut held = VecDeque::new();
        let mut idle: Vec<usize> = Vec::new();
        let (mut created, mut dropped) = (0, 0);
        for step in steps {
            match step {
                Step::Acquire => {
                    let lease = pool.acquire();
                    // Which of them is the pool's choice, but on a shelf it is the last.
                    let known = idle.iter().rposition(|size| *size == lease.capacity());
                    match known {
                        Some(position) => drop(idle.remove(position)),
                        None => {
                            prop_assert!(idle.is_empty(), "one was there and another was made");
                            created += 1;
                        }
                    }
                    prop_assert!(lease.is_empty());
                    held.push_back(lease);
                }
                Step::Return(at, size) if !held.is_empty() => {
                    let mut lease = held.remove(at % held.len()).unwrap();
                    lease.resize(size, 7);
                    let bytes = lease.capacity();
                    drop(lease);
                    let used: usize = idle.iter().sum();
                    if idle.len() < capacity && used + bytes <= max_bytes {
                        idle.push(bytes);
                    } else {
                        dropped += 1;
                    }
                }
                Step::Clear => {
                    prop_assert_eq!(pool.clear(), idle.len());
                    dropped += idle.len() as u64;
                    idle.clear();
                }
                Step::Detach(at) if !held.is_empty() => {
                    held.remove(at % held.len()).unwrap().detach();
                    dropped += 1;
                }
                _ => {}
            }
            let stats = pool.stats();
            prop_assert_eq!(stats.available, idle.len());
            prop_assert_eq!((stats.created, stats.dropped), (created, dropped));
            prop_assert_eq!(stats.in_use(), held.len() as u64);
        }
    }

    /// P7: both rings are queues of bytes.
    #[test]
    fn rings_are_queues(
        capacity in 0..40_usize,
        steps in prop::collection::vec((any::<bool>(), 0..50_usize), 1..200),
    ) {
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut plain = ByteRing::new(capacity);
        let (mut producer, mut consumer) = spsc::ring(capacity);
        let mut next = 0_u8;
        for (write, count) in steps {
            if write {
                let bytes: Vec<u8> = (0..count).map(|_| { next = next.wrapping_add(1); next }).collect();
                let fits = count.min(capacity - model.len());
                prop_assert_eq!(plain.write(&bytes), fits);
                prop_assert_eq!(producer.write(&bytes), fits);
                model.extend(&bytes[..fits]);
            } else {
                let (mut one, mut two) = (vec![0; count], vec![0; count]);
                let there = count.min(model.len());
                prop_assert_eq!(plain.read(&mut one), there);
                prop_assert_eq!(consumer.read(&mut two), there);
                let expected: Vec<u8> = model.drain(..there).collect();
                prop_assert_eq!(&one[..there], &expected[..]);
                prop_assert_eq!(&two[..there], &expected[..]);
            }
            prop_assert_eq!(plain.len(), model.len());
            let (first, second) = plain.filled();
            prop_assert!(first.iter().chain(second).eq(&model));
            let (first, second) = consumer.filled();
            prop_assert!(first.iter().chain(second).eq(&model));
        }
    }

    /// P5: pairs are a list of keys and values, whichever is set again.
    #[test]
    fn pairs_are_a_list(steps in prop::collection::vec(("[a-d]{0,2}", "[x-zü]{0,5}"), 0..40)) {
        let mut pairs = Pairs::default();
        let mut model: Vec<(String, String)> = Vec::new();
        for (key, value) in steps {
            pairs.insert(&key, &value);
            match model.iter_mut().find(|pair| pair.0 == key) {
                Some(pair) => pair.1 = value,
                None => model.push((key, value)),
            }
            prop_assert!(pairs.iter().eq(model.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
            let (key, value) = &model[0];
            prop_assert_eq!(pairs.get(key), Some(value.as_str()));
        }
    }
}
