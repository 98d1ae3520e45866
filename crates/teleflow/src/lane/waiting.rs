//! How full the room before a task is: the pressure that its sampler is under, beside its own bounds.

use teleflow_sampler::ReliefStats;
use tokio::sync::mpsc;

use super::Taken;
use super::stages::State;
use crate::intake::MAX_BYTES;

// === impl State ===

impl State {
    /// Tells the sampler how much waits for it, those included that were just received. What waits
    /// is looked at when something was received, and else it is nothing.
    pub(super) fn note_waiting(&mut self, received: &[Taken], intake: &mpsc::Receiver<Taken>) {
        let Some(sampler) = &mut self.sampler else { return };
        if received.is_empty() && !intake.is_empty() {
            return;
        }
        let count = received.len() + intake.len();
        let Some((_, permit)) = received.first().filter(|_| count > 1) else {
            // A single one may take all the room there is.
            sampler.note_waiting(0);
            return;
        };
        let free = permit.semaphore().available_permits();
        let by_bytes = percent(MAX_BYTES.saturating_sub(free), MAX_BYTES);
        let by_count = percent(count, intake.max_capacity());
        sampler.note_waiting(by_bytes.max(by_count));
    }

    /// What relief did, if it has begun or ended since this was asked last.
    pub(super) fn relief_change(&mut self) -> Option<ReliefStats> {
        let sampler = self.sampler.as_ref()?;
        let is_relieving = sampler.is_relieving();
        let has_changed = std::mem::replace(&mut self.was_relieving, is_relieving) != is_relieving;
        has_changed.then(|| sampler.stats().relief)
    }
}

/// Says that relief has begun or ended.
pub(super) fn log(lane: &str, relief: ReliefStats) {
    let ReliefStats { active, level, traces_kept, traces_sampled_out, .. } = relief;
    if active > 0 {
        tracing::warn!(
            lane,
            level,
            "stress relief begins: traces that come now are decided at once, by chance"
        );
    } else {
        tracing::info!(lane, level, traces_kept, traces_sampled_out, "stress relief has ended");
    }
}

/// At most 100.
fn percent(used: usize, most: usize) -> u8 {
    (used * 100 / most.max(1)).min(100) as u8
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use teleflow_otlp::{Payload, Signal};
    use teleflow_sampler::{Config, Digest, Relief, TailSampler};
    use teleflow_testkit::telemetry::Telemetry;
    use tokio::sync::Semaphore;

    use super::*;

    /// The level that a sampler is told of, with so many payloads in the channel and received, of so
    /// many bytes each.
    async fn level(waiting: usize, received: usize, bytes: usize) -> u64 {
        let relief = Some(Relief::default());
        let sampler = Some(TailSampler::new(Config { relief, ..Config::default() }).unwrap());
        let mut state = State { sampler, ..State::default() };
        let room = Arc::new(Semaphore::new(MAX_BYTES));
        let (sender, mut intake) = mpsc::channel(100);
        let request = Bytes::from(Telemetry::new(1).request(Signal::Logs, 1));
        let payload = Payload::parse(Signal::Logs, request).unwrap();
        for _ in 0..waiting + received {
            let permit = Arc::clone(&room).acquire_many_owned(bytes as u32).await.unwrap();
            sender.send((Digest::unread(payload.clone()), permit)).await.unwrap();
        }
        let mut taken = Vec::new();
        if received > 0 {
            intake.recv_many(&mut taken, received).await;
        }
        state.note_waiting(&taken, &intake);
        let sampler = state.sampler.as_mut().unwrap();
        sampler.poll(std::time::Instant::now(), &mut teleflow_sampler::Output::default());
        sampler.stats().relief.level
    }

    #[tokio::test]
    async fn what_waits_is_measured_by_number_and_bytes() {
        assert_eq!(level(0, 0, 1).await, 0);
        assert_eq!(level(50, 10, 1).await, 60);
        assert_eq!(level(99, 1, 1).await, 100);
        assert_eq!(level(1, 2, MAX_BYTES / 4).await, 75);
        assert_eq!(level(0, 1, MAX_BYTES).await, 0, "a large one by itself is none");
        assert_eq!(level(60, 0, 1).await, 0, "and it is not looked at without need");
    }
}
