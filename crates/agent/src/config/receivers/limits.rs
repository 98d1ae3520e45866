//! `limits` of a receiver: what clients may take, over both protocols together.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::later;
use super::super::read::Keys;
use super::{MAX_MIB, MIB};

/// `limits`, which the Collector does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    /// How many bytes of requests are read, inflated or on their way into the pipelines. Default
    /// `None`: 256 MiB, or twice the largest request. Not less than that.
    pub(crate) max_in_flight_bytes: Option<u64>,
    /// How many connections are open. Default 10 000. At least 1.
    pub(crate) max_connections: NonZeroUsize,
    /// How many of them from one address. Default `None` (0 in the file): not limited.
    pub(crate) max_connections_per_peer: Option<NonZeroUsize>,
    /// How many requests are open, over all connections. Default 50 000. At least 1.
    pub(crate) max_requests: NonZeroUsize,
    /// The shortest wait that a client is told when there is no room. Default 1 s. Zero leaves it to
    /// the client.
    pub(crate) retry_after: Duration,
    /// The longest such wait. Default 30 s. Not less than `retry_after`.
    pub(crate) max_retry_after: Duration,
    /// How long a TLS handshake may take. Default 10 s. More than 0.
    pub(crate) handshake_timeout: Duration,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_in_flight_bytes: None,
            max_connections: NonZeroUsize::new(10_000).expect("is not zero"),
            max_connections_per_peer: None,
            max_requests: NonZeroUsize::new(50_000).expect("is not zero"),
            retry_after: Duration::from_secs(1),
            max_retry_after: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// Reads `limits`. `largest` is the largest request of any of the protocols, in bytes: compressed
/// and inflated, it has to fit.
pub(super) fn read(keys: &mut Keys<'_>, largest: u64) -> Limits {
    let default = Limits::default();
    let Some(at) = keys.value("limits") else { return default };
    at.section(later::NONE, |keys| {
        let bytes = keys.value("max_in_flight_bytes").and_then(|at| {
            let most = 1024 * MAX_MIB * MIB;
            let bytes = at.bytes(1..=most)?;
            if bytes < 2 * largest {
                let hint = format!("the largest request has {largest}, compressed and inflated");
                at.refuse(&format!("be at least {}", 2 * largest), Some(hint));
            }
            Some(bytes)
        });
        let connections = keys.value("max_connections").and_then(|at| at.count(1));
        let of_peer = keys.value("max_connections_per_peer").and_then(|at| at.count(0));
        let requests = keys.value("max_requests").and_then(|at| at.count(1));
        let retry_after = keys.value("retry_after").and_then(|at| at.duration());
        let retry_after = retry_after.unwrap_or(default.retry_after);
        let longest = keys.value("max_retry_after").and_then(|at| {
            let longest = at.duration()?;
            if longest < retry_after {
                at.refuse(&format!("be at least retry_after ({retry_after:?})"), None);
            }
            Some(longest)
        });
        Limits {
            max_in_flight_bytes: bytes,
            max_connections: connections
                .and_then(NonZeroUsize::new)
                .unwrap_or(default.max_connections),
            max_connections_per_peer: of_peer.and_then(NonZeroUsize::new),
            max_requests: requests.and_then(NonZeroUsize::new).unwrap_or(default.max_requests),
            retry_after,
            max_retry_after: longest.unwrap_or_else(|| default.max_retry_after.max(retry_after)),
            handshake_timeout: super::positive(keys, "handshake_timeout")
                .unwrap_or(default.handshake_timeout),
        }
    })
}
