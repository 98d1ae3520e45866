//! A program that sends what it did.

use std::time::Duration;

use fastrand::Rng;
use teleflow_testkit::telemetry::Telemetry;

use crate::gateway::Door;
use crate::spans::numbered;
use crate::world::pass;
use teleflow_testkit::numbered::numbers;

/// What it knows of its spans, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The gateway has said that it took them.
    pub(crate) accepted: Vec<u64>,
    /// It gave up; some of them may have arrived.
    pub(crate) given_up: Vec<u64>,
}

/// Sends some requests one after the other, each until it is taken or patience ends.
pub(crate) async fn run(mut rng: Rng, door: Door, mut next: u64) -> Sent {
    let mut telemetry = Telemetry::new(rng.u64(..));
    let mut sent = Sent::default();
    for _ in 0..rng.usize(3..25) {
        pass(Duration::from_millis(rng.u64(..1500))).await;
        let payload = numbered(&mut telemetry, &mut next);
        let mut tries = rng.u32(1..8);
        loop {
            match door.send(payload.clone()).await {
                Ok(_) => {
                    sent.accepted.extend(numbers(&payload));
                    break;
                }
                Err(error) if tries == 0 || !error.is_retryable() => {
                    sent.given_up.extend(numbers(&payload));
                    break;
                }
                Err(_) => {
                    tries -= 1;
                    pass(Duration::from_millis(rng.u64(100..3000))).await;
                }
            }
        }
    }
    sent
}
