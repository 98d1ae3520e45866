//! Keeps a small request from becoming a huge one when it is cut.
//!
//! Each piece repeats the resource and the scope of its items. With a limit of few items and a large
//! envelope, cutting multiplies the bytes, and with any small limit it makes very many payloads.
//! Where that would pass a bound, the limits give way: telemetry that is too large a batch is better
//! than telemetry that is lost, or memory that is.

use teleflow_otlp::metric::Metric;
use teleflow_otlp::{Limits, Payload, Signal, tree};

/// From here on `split` itself sees to it that no envelope is repeated for less than it weighs.
const LARGE_ENVELOPE: usize = 64 * 1024;

/// So many pieces are always allowed: with fewer, the limits would give way by too much.
const LEAST_PIECES: u64 = 64;

/// What cutting one payload may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    /// The most pieces.
    pub(crate) pieces: u64,
    /// The most bytes that are added for the sake of the limit of items.
    pub(crate) overhead: usize,
}

// === impl Guard ===

impl Guard {
    /// The limits with which `payload` may be cut: the given ones, or looser.
    pub(crate) fn loosen(&self, payload: &Payload, limits: Limits) -> Limits {
        let (items, bytes) = (payload.items(), payload.bytes());
        // Half of the pieces for either limit. A piece that ends for its bytes holds, together with
        // the item after it, more than the limit, and all pieces at most a little over twice the
        // payload: hence the factor.
        let half = (self.pieces.max(LEAST_PIECES) - 4) / 2;
        let least_bytes = bytes.saturating_mul(8).div_ceil(usize::try_from(half).unwrap_or(1));
        let mut least_items = items.div_ceil(half);

        let cuts = items / limits.items.max(1);
        let repeated = |envelope: usize| cuts.saturating_mul(envelope as u64);
        let most = self.overhead.max(1) as u64;
        // Taking the envelopes apart is worth it only where they might matter.
        if repeated(bytes.min(LARGE_ENVELOPE)) > most {
            let envelope = largest_envelope(payload).min(LARGE_ENVELOPE);
            if repeated(envelope) > most {
                let all = u128::from(items) * envelope as u128;
                let enough = u64::try_from(all.div_ceil(u128::from(most))).unwrap_or(u64::MAX);
                least_items = least_items.max(enough);
            }
        }
        Limits { items: limits.items.max(least_items), bytes: limits.bytes.max(least_bytes) }
    }
}

/// The bytes that a piece of `payload` repeats at most: resource, scope, and of a metric all but
/// its points.
fn largest_envelope(payload: &Payload) -> usize {
    /// Keys and lengths of the messages around an item.
    const FRAME: usize = 24;
    let is_metrics = payload.signal() == Signal::Metrics;
    let (mut largest, mut scratch) = (0, Vec::new());
    for resource in payload.segments().iter().flat_map(|segment| tree::resources(segment)) {
        scratch.clear();
        resource.envelope(&mut scratch);
        let outer = scratch.len();
        for scope in resource.scopes() {
            scratch.clear();
            scope.envelope(&mut scratch);
            let items = scope.items().filter(|_| is_metrics);
            let inner = items.map(|item| metric_envelope(item.message)).max().unwrap_or_default();
            largest = largest.max(outer + scratch.len() + inner + FRAME);
        }
    }
    largest
}

fn metric_envelope(metric: &[u8]) -> usize {
    let points = Metric::read(metric).points().map(|point| point.message().len() + 2).sum();
    metric.len().saturating_sub(points)
}
