//! Which compression a server takes: what it says, and what it refuses.
//!
//! A client learns it in two ways. A server may name, with any answer, what it reads: then zstd is
//! used where it is among it. And a server may refuse a request for its compression: then the same
//! request goes out once more with the next simpler one. As servers refuse with the same status what
//! they do not know for other reasons, a step down is only remembered where it helped; where even
//! the plain request is refused, compression was not the reason and the question is closed.

use std::sync::atomic::{AtomicU8, Ordering};

use teleflow_otlp::Signal;

use crate::Compression;

/// For each signal, for they may have servers of their own.
#[derive(Debug)]
pub(crate) struct Negotiation {
    /// What is used as long as nothing else is known.
    configured: Compression,
    enabled: bool,
    known: [AtomicU8; 3],
}

/// The server reads zstd.
const TAKES_ZSTD: u8 = 1;
/// It refused what is compressed so: by the compression's index, shifted by this.
const REFUSED: u8 = 1;
/// It refuses for other reasons.
const INNOCENT: u8 = 1 << 7;

// === impl Negotiation ===

impl Negotiation {
    /// Starts with `configured`; stays there unless it is `enabled`.
    pub(crate) fn new(configured: Compression, enabled: bool) -> Self {
        // Who wants no compression gets none.
        let enabled = enabled && configured != Compression::None;
        Self { configured, enabled, known: Default::default() }
    }

    /// What to send with.
    pub(crate) fn current(&self, signal: Signal) -> Compression {
        let known = self.known(signal);
        let mut best = self.configured;
        #[cfg(feature = "zstd")]
        if known & TAKES_ZSTD != 0 {
            best = Compression::Zstd;
        }
        while known & refused(best) != 0 {
            best = best.lower().unwrap_or_default();
        }
        best
    }

    /// The server named what it reads, such as `gzip, zstd;q=0.5`.
    pub(crate) fn heard(&self, signal: Signal, accepts: &[u8]) {
        let takes_zstd = accepts.split(|&byte| byte == b',').any(|one| {
            let mut parts = one.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let is_zstd = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"zstd"));
            let zero = |part: &[u8]| {
                let Some(weight) = part.strip_prefix(b"q=") else { return false };
                weight.iter().all(|byte| matches!(byte, b'0' | b'.'))
            };
            is_zstd && !parts.any(zero)
        });
        if self.enabled && takes_zstd && self.known(signal) & TAKES_ZSTD == 0 {
            self.learn(signal, TAKES_ZSTD);
        }
    }

    /// A request that was compressed so was refused as servers refuse what they do not know: what to
    /// send it with once more, if at all.
    pub(crate) fn instead(&self, signal: Signal, of: Compression) -> Option<Compression> {
        if !self.enabled || self.known(signal) & INNOCENT != 0 { None } else { of.lower() }
    }

    /// The request that was refused in `refused` was taken in `taken`.
    pub(crate) fn taken(&self, signal: Signal, refused_in: Compression, taken: Compression) {
        let mut step = refused_in;
        while step != taken {
            self.learn(signal, refused(step));
            let Some(lower) = step.lower() else { break };
            step = lower;
        }
    }

    /// The request was refused without any compression too.
    pub(crate) fn refused_anyway(&self, signal: Signal) {
        self.learn(signal, INNOCENT);
    }

    fn known(&self, signal: Signal) -> u8 {
        self.known[signal.index()].load(Ordering::Relaxed)
    }

    fn learn(&self, signal: Signal, what: u8) {
        self.known[signal.index()].fetch_or(what, Ordering::Relaxed);
    }
}

/// The bit that says that this was refused; none for no compression.
fn refused(compression: Compression) -> u8 {
    match compression.index() {
        0 => 0,
        index => REFUSED << index,
    }
}

#[cfg(test)]
#[cfg(all(feature = "gzip", feature = "zstd"))]
mod tests {
    use super::Compression::{Gzip, None as Plain, Zstd};
    use super::Signal::{Logs, Traces};
    use super::*;

    #[test]
    fn zstd_is_used_where_the_server_says_that_it_reads_it() {
        for (accepts, expected) in [
            (&b"gzip, zstd"[..], Zstd),
            (b"ZSTD;q=0.5,gzip", Zstd),
            (b"identity,deflate,gzip", Gzip),
            (b"gzip, zstd;q=0", Gzip),
            (b"gzip, zstd; q=0.000", Gzip),
            (b"zstdx", Gzip),
            (b"", Gzip),
            (b"\xff,;;,=", Gzip),
        ] {
            let negotiation = Negotiation::new(Gzip, true);
            negotiation.heard(Traces, accepts);
            assert_eq!(negotiation.current(Traces), expected, "{accepts:?}");
            assert_eq!(negotiation.current(Logs), Gzip);
        }
    }

    #[test]
    fn what_is_refused_is_not_tried_again_even_where_the_server_says_that_it_reads_it() {
        let negotiation = Negotiation::new(Zstd, true);
        assert_eq!(negotiation.instead(Traces, Zstd), Some(Gzip));
        negotiation.taken(Traces, Zstd, Gzip);
        negotiation.heard(Traces, b"zstd");
        assert_eq!(negotiation.current(Traces), Gzip);
        negotiation.taken(Traces, Gzip, Plain);
        assert_eq!(negotiation.current(Traces), Plain);

        let two_steps = Negotiation::new(Zstd, true);
        two_steps.taken(Traces, Zstd, Plain);
        assert_eq!(two_steps.current(Traces), Plain);
    }

    #[test]
    fn where_the_plain_request_is_refused_too_the_question_is_closed() {
        let negotiation = Negotiation::new(Gzip, true);
        assert_eq!(negotiation.instead(Traces, Gzip), Some(Plain));
        negotiation.refused_anyway(Traces);
        assert_eq!(negotiation.current(Traces), Gzip);
        assert_eq!(negotiation.instead(Traces, Gzip), None);
        assert_eq!(negotiation.instead(Logs, Gzip), Some(Plain));
    }

    #[test]
    fn who_wants_none_or_one_alone_keeps_it() {
        for (configured, enabled) in [(Plain, true), (Gzip, false)] {
            let negotiation = Negotiation::new(configured, enabled);
            negotiation.heard(Traces, b"zstd");
            assert_eq!(negotiation.current(Traces), configured);
            assert_eq!(negotiation.instead(Traces, configured), None);
        }
    }
}
