//! `keepalive` of a receiver: how long connections stay.

use std::time::Duration;

use super::super::later;
use super::super::read::Keys;
use super::positive;

/// `keepalive.server_parameters`. They hold for all connections of the receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct KeepAlive {
    /// How long a connection may wait for its next request. Default 5 minutes (the Collector: for
    /// ever). `None` (0 in the file): for ever.
    pub(crate) max_connection_idle: Option<Duration>,
    /// How long a connection may last. Default `None` (0 in the file): for ever.
    pub(crate) max_connection_age: Option<Duration>,
    /// How long the requests of such a connection may still take. Default 30 s (the Collector: as
    /// long as they take). More than 0.
    pub(crate) max_connection_age_grace: Duration,
    /// How often a silent client is asked whether it is there. Default 1 minute (the Collector: 2
    /// hours). More than 0.
    pub(crate) time: Duration,
}

// === impl KeepAlive ===

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            max_connection_idle: Some(Duration::from_secs(300)),
            max_connection_age: None,
            max_connection_age_grace: Duration::from_secs(30),
            time: Duration::from_secs(60),
        }
    }
}

/// Reads `keepalive`.
pub(super) fn read(keys: &mut Keys<'_>) -> KeepAlive {
    let Some(at) = keys.value("keepalive") else { return KeepAlive::default() };
    at.section(later::KEEPALIVE, |keys| match keys.value("server_parameters") {
        Some(at) => at.section(later::SERVER_PARAMETERS, read_parameters),
        None => KeepAlive::default(),
    })
}

fn read_parameters(keys: &mut Keys<'_>) -> KeepAlive {
    let default = KeepAlive::default();
    KeepAlive {
        max_connection_idle: read_limit(keys, "max_connection_idle", default.max_connection_idle),
        max_connection_age: read_limit(keys, "max_connection_age", default.max_connection_age),
        max_connection_age_grace: positive(keys, "max_connection_age_grace")
            .unwrap_or(default.max_connection_age_grace),
        time: positive(keys, "time").unwrap_or(default.time),
    }
}

/// Reads a limit, of which 0 is none.
fn read_limit(
    keys: &mut Keys<'_>,
    name: &'static str,
    default: Option<Duration>,
) -> Option<Duration> {
    match keys.value(name).and_then(|at| at.duration()) {
        None => default,
        Some(limit) => Some(limit).filter(|limit| !limit.is_zero()),
    }
}
