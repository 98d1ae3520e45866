//! `keepalive` of an exporter: probes that find out whether the server is still there.

use std::time::Duration;

use super::super::later;
use super::super::read::Keys;

/// `keepalive`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct KeepAlive {
    /// So long without a byte from the server, and it is asked for a sign. Default 10 s. More than 0.
    pub(crate) time: Duration,
    /// So long without an answer to that, and the connection is over. Default 10 s. More than 0.
    pub(crate) timeout: Duration,
}

const DEFAULT: Duration = Duration::from_secs(10);

/// Reads `keepalive`: `None` if it is not written, and no probes are sent.
pub(super) fn read(keys: &mut Keys<'_>) -> Option<KeepAlive> {
    let at = keys.value("keepalive")?;
    Some(at.section(later::NONE, |keys| {
        let mut duration = |name| {
            let Some(at) = keys.value(name) else { return DEFAULT };
            let duration = at.duration();
            if duration == Some(Duration::ZERO) {
                at.refuse("be more than 0", None);
            }
            duration.unwrap_or(DEFAULT)
        };
        let keepalive = KeepAlive { time: duration("time"), timeout: duration("timeout") };
        // Ours go out on idle connections as well, which servers may take amiss: only where the
        // file knows that.
        if let Some(at) = keys.require("permit_without_stream")
            && at.truth() == Some(false)
        {
            at.refuse("be true", Some("probes are sent on idle connections, too".to_owned()));
        }
        keepalive
    }))
}
