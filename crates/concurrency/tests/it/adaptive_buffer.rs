//! C12.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use teleflow_concurrency::{
    AdaptiveBuffer, AdaptiveBufferConfig, AdaptiveBufferConfigError, Resized, SendError,
};
use tokio::time::Instant;

const LOOK: Duration = Duration::from_secs(5);

fn buffer<T>(min: usize, max: usize) -> AdaptiveBuffer<T> {
    AdaptiveBuffer::new(AdaptiveBufferConfig { min, max, look_every: LOOK }).unwrap()
}

#[tokio::test(start_paused = true)]
async fn c12_it_doubles_above_eight_tenths_and_halves_below_two_within_its_limits() {
    let (buffer, start) = (buffer(10, 30), Instant::now());
    assert_eq!(buffer.look(start), None, "the first interval begins");
    (0..8).for_each(|n| buffer.try_send(n).unwrap());
    assert_eq!(buffer.look(start + LOOK), None, "0.8 is not more than 0.8");
    buffer.try_send(8).unwrap();
    assert_eq!(buffer.look(start + LOOK), None, "not time yet");
    assert_eq!(buffer.look(start + LOOK * 2), Some(Resized::Grown { from: 10, to: 20 }));
    (9..20).for_each(|n| buffer.try_send(n).unwrap());
    assert_eq!(buffer.try_send(20), Err(SendError::Full(20)));
    assert_eq!(buffer.look(start + LOOK * 3), Some(Resized::Grown { from: 20, to: 30 }));
    assert_eq!(buffer.stats().utilisation, 20.0 / 30.0);

    let received: Vec<_> = (0..15).map_while(|_| buffer.try_recv()).collect();
    assert_eq!(received, (0..15).collect::<Vec<_>>());
    assert_eq!(
        buffer.look(start + LOOK * 4),
        Some(Resized::Shrunk { from: 30, to: 15 }),
        "5 of 30"
    );
    assert_eq!(buffer.look(start + LOOK * 5), None, "5 of 15");
    let rest: Vec<_> = std::iter::from_fn(|| buffer.try_recv()).collect();
    assert_eq!(rest, [15, 16, 17, 18, 19]);
    assert_eq!(buffer.look(start + LOOK * 6), Some(Resized::Shrunk { from: 15, to: 10 }));
    let stats = buffer.stats();
    assert_eq!((stats.sent, stats.received, stats.refused), (20, 20, 1));
    assert_eq!((stats.grown, stats.shrunk, stats.capacity), (2, 2, 10));
}

#[tokio::test(start_paused = true)]
async fn c12_a_full_buffer_grows_by_itself_while_a_sender_waits() {
    let (buffer, start) = (buffer(2, 4), Instant::now());
    for n in 0..3 {
        buffer.send(n).await.unwrap();
    }
    assert_eq!((start.elapsed(), buffer.stats().capacity), (LOOK, 4));
}

#[tokio::test(start_paused = true)]
async fn c12_an_idle_buffer_shrinks_by_itself_while_a_receiver_waits() {
    let buffer = Arc::new(buffer(2, 8));
    let start = Instant::now();
    buffer.look(start);
    (0..2).for_each(|n| buffer.try_send(n).unwrap());
    buffer.look(start + LOOK).unwrap();
    let receiver = tokio::spawn({
        let buffer = Arc::clone(&buffer);
        async move {
            let mut received = Vec::new();
            while let Some(item) = buffer.recv().await {
                received.push(item);
            }
            received
        }
    });
    tokio::time::sleep(LOOK * 3).await;
    assert_eq!(buffer.stats().capacity, 2);
    buffer.send(2).await.unwrap();
    buffer.close();
    assert_eq!(buffer.send(3).await, Err(SendError::Closed(3)));
    assert_eq!(receiver.await.unwrap(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn c12_nothing_is_lost_or_reordered_between_many_senders_and_receivers() {
    const EACH: u32 = 2000;
    let config = AdaptiveBufferConfig { min: 1, max: 64, look_every: Duration::from_millis(1) };
    let buffer = Arc::new(AdaptiveBuffer::new(config).unwrap());
    let senders: Vec<_> = (0..4_u32)
        .map(|sender| {
            let buffer = Arc::clone(&buffer);
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(u64::from(sender));
                for n in 0..EACH {
                    buffer.send((sender, n)).await.unwrap();
                    if random.u8(..) < 8 {
                        tokio::time::sleep(Duration::from_millis(random.u64(1..5))).await;
                    }
                }
            })
        })
        .collect();
    let receiver = tokio::spawn({
        let buffer = Arc::clone(&buffer);
        async move {
            let mut next = [0_u32; 4];
            let mut random = fastrand::Rng::with_seed(9);
            while let Some((sender, n)) = buffer.recv().await {
                assert_eq!(n, next[sender as usize]);
                next[sender as usize] += 1;
                if random.u8(..) < 8 {
                    tokio::time::sleep(Duration::from_millis(random.u64(1..5))).await;
                }
            }
            next
        }
    });
    for sender in senders {
        sender.await.unwrap();
    }
    buffer.close();
    assert_eq!(receiver.await.unwrap(), [EACH; 4]);
    let stats = buffer.stats();
    assert!(stats.grown > 10 && stats.shrunk > 10, "{stats:?}");
}

#[test]
fn c12_a_config_that_makes_no_sense_is_refused() {
    let config = |min, max, look_every| {
        AdaptiveBuffer::<()>::new(AdaptiveBufferConfig { min, max, look_every }).map(drop)
    };
    assert_eq!(config(0, 1, LOOK), Err(AdaptiveBufferConfigError::Sizes));
    assert_eq!(config(2, 1, LOOK), Err(AdaptiveBufferConfigError::Sizes));
    assert_eq!(config(1, 1, Duration::ZERO), Err(AdaptiveBufferConfigError::Interval));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn c12_it_agrees_with_a_queue_that_has_a_size(steps in prop::collection::vec(0..10_u8, 1..300)) {
        let (buffer, start) = (buffer(2, 32), Instant::now());
        let (mut model, mut size, mut looks) = (VecDeque::new(), 2_usize, 0_u32);
        buffer.look(start);
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                0..5 if model.len() < size => {
                    prop_assert_eq!(buffer.try_send(n), Ok(()));
                    model.push_back(n);
                }
                0..5 => prop_assert_eq!(buffer.try_send(n), Err(SendError::Full(n))),
                5..9 => prop_assert_eq!(buffer.try_recv(), model.pop_front()),
                _ => {
                    looks += 1;
                    buffer.look(start + LOOK * looks);
                    let share = model.len() as f64 / size as f64;
                    if share > 0.8 {
                        size = (size * 2).min(32);
                    } else if share < 0.2 {
                        size = (size / 2).max(2);
                    }
                }
            }
            prop_assert_eq!((buffer.stats().len, buffer.stats().capacity), (model.len(), size));
        }
    }
}
