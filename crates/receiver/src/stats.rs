//! What a receiver has counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use teleflow_concurrency::Budget;
use teleflow_otlp::Signal;

use crate::rejection::Cause;

/// A protocol that requests come by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP, protobuf or JSON.
    Http,
}

/// Reads a receiver's counters, also while it serves and after it has ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stats {
    counters: Arc<Counters>,
    budget: Budget,
}

/// The counters at one moment. Each is exact; they are not read at the very same instant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    requests: [[Requests; 3]; 2],
    /// Requests to a path or method that is not served.
    pub unrouted: u64,
    /// Connections that are open now.
    pub connections_open: usize,
    /// Connections that were accepted and served, now or before.
    pub connections: u64,
    /// Connections that were closed at once because too many were open, in all or of that peer.
    pub connections_refused: u64,
    /// Connections that did not get through the TLS handshake.
    pub handshakes_failed: u64,
    /// Connections that were asked to close because of their age.
    pub connections_aged: u64,
    /// Connections that were cut because their client kept the receiver busy and sent nothing.
    pub connections_abusive: u64,
    /// Times the operating system failed to hand over a connection.
    pub accept_errors: u64,
    /// Bytes of request bodies that are held now.
    pub bytes_in_flight: usize,
}

/// What became of the requests of one signal by one protocol.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Requests {
    /// Requests that were answered with success.
    pub accepted: u64,
    /// Items in them.
    pub accepted_items: u64,
    /// Requests that were refused and may be sent again.
    pub refused: u64,
    /// Items in them, as far as they were read: what is turned away before that is not counted.
    pub refused_items: u64,
    /// Requests that were answered with an error for good: malformed, too large, of a wrong type.
    pub invalid: u64,
    /// Requests that were turned away because of their credentials, for good.
    pub denied: u64,
    /// Requests without an end: the client left or was too slow, or the server was stopped.
    pub incomplete: u64,
    /// Bytes of all bodies, as they came over the wire.
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: [[RequestCounters; 3]; 2],
    pub(crate) unrouted: AtomicU64,
    pub(crate) connections_open: AtomicUsize,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) connections_aged: AtomicU64,
    pub(crate) connections_abusive: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct RequestCounters {
    accepted: AtomicU64,
    accepted_items: AtomicU64,
    refused: AtomicU64,
    refused_items: AtomicU64,
    invalid: AtomicU64,
    denied: AtomicU64,
    incomplete: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

// === impl Transport ===

impl Transport {
    /// Every protocol, in the order in which reports list them.
    pub const ALL: [Self; 2] = [Self::Grpc, Self::Http];

    /// The lower-case name that config files and metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

// === impl Stats ===

impl Stats {
    pub(crate) fn new(counters: Arc<Counters>, budget: Budget) -> Self {
        Self { counters, budget }
    }

    /// Reads every counter.
    pub fn snapshot(&self) -> Snapshot {
        let counters = &*self.counters;
        Snapshot {
            requests: counters.requests.each_ref().map(|r| r.each_ref().map(RequestCounters::read)),
            unrouted: counters.unrouted.load(Relaxed),
            connections_open: counters.connections_open.load(Relaxed),
            connections: counters.connections.load(Relaxed),
            connections_refused: counters.connections_refused.load(Relaxed),
            handshakes_failed: counters.handshakes_failed.load(Relaxed),
            connections_aged: counters.connections_aged.load(Relaxed),
            connections_abusive: counters.connections_abusive.load(Relaxed),
            accept_errors: counters.accept_errors.load(Relaxed),
            bytes_in_flight: self.budget.stats().held as usize,
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The counters of one signal by one protocol.
    pub const fn of(&self, transport: Transport, signal: Signal) -> Requests {
        self.requests[transport as usize][signal.index()]
    }

    /// The sum over both protocols.
    pub fn of_signal(&self, signal: Signal) -> Requests {
        let [grpc, http] = Transport::ALL.map(|transport| self.of(transport, signal));
        Requests {
            accepted: grpc.accepted + http.accepted,
            accepted_items: grpc.accepted_items + http.accepted_items,
            refused: grpc.refused + http.refused,
            refused_items: grpc.refused_items + http.refused_items,
            invalid: grpc.invalid + http.invalid,
            denied: grpc.denied + http.denied,
            incomplete: grpc.incomplete + http.incomplete,
            bytes: grpc.bytes + http.bytes,
        }
    }
}

// === impl Counters ===

impl Counters {
    pub(crate) fn of(&self, transport: Transport, signal: Signal) -> &RequestCounters {
        &self.requests[transport as usize][signal.index()]
    }
}

// === impl RequestCounters ===

impl RequestCounters {
    pub(crate) fn accept(&self, items: u64) {
        self.accepted.fetch_add(1, Relaxed);
        self.accepted_items.fetch_add(items, Relaxed);
    }

    pub(crate) fn reject(&self, cause: Cause, items: u64) {
        match cause {
            Cause::Refused => {
                self.refused.fetch_add(1, Relaxed);
                self.refused_items.fetch_add(items, Relaxed);
            }
            Cause::Invalid => _ = self.invalid.fetch_add(1, Relaxed),
            Cause::Denied => _ = self.denied.fetch_add(1, Relaxed),
            Cause::Incomplete => _ = self.incomplete.fetch_add(1, Relaxed),
        }
    }

    fn read(&self) -> Requests {
        Requests {
            accepted: self.accepted.load(Relaxed),
            accepted_items: self.accepted_items.load(Relaxed),
            refused: self.refused.load(Relaxed),
            refused_items: self.refused_items.load(Relaxed),
            invalid: self.invalid.load(Relaxed),
            denied: self.denied.load(Relaxed),
            incomplete: self.incomplete.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}
