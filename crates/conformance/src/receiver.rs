//! Checks of a receiver: the suite plays the client.

mod grpc;
mod http;
mod json;
mod limits;
mod states;
mod status;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use crate::rule::{Level, Outcome, Verdict};
use crate::signal::{Partial, Signal};
use crate::wire::grpc::{Call, Reply};
use crate::wire::http::{Answer, Request};

/// Where the receiver is, and how it is configured.
#[derive(Debug)]
pub struct Receiver {
    /// OTLP/gRPC; its checks are left out where there is none.
    pub grpc: Option<SocketAddr>,
    /// OTLP/HTTP; its checks are left out where there is none.
    pub http: Option<SocketAddr>,
    /// The most bytes of a request that it is told to take; 64 MiB is what the protocol advises.
    pub max_request_bytes: usize,
    /// One like it that has no room left; what it would say is not seen where there is none.
    pub overloaded: Option<Box<Self>>,
    /// One like it whose backend takes requests in part.
    pub partly: Option<Box<Self>>,
    /// What it said of requests that it took in part.
    partials: Mutex<Vec<Partial>>,
}

/// The two encodings of OTLP/HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

/// What a check needs to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Needs {
    Grpc,
    Http,
    Both,
    Any,
}

type Checking<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

struct Check {
    /// `RULE.what`.
    name: &'static str,
    level: Level,
    needs: Needs,
    run: fn(&Receiver) -> Checking<'_>,
}

/// A table of checks: level, what it needs, name, function.
macro_rules! checks {
    ($($level:ident $needs:ident $name:literal $function:expr;)*) => {
        &[$(Check {
            name: $name,
            level: Level::$level,
            needs: Needs::$needs,
            run: |receiver| Box::pin(async move { $function(receiver).await.into() }),
        }),*]
    };
}
use checks;

/// What only happens to a receiver from within, with the reason that the report gives.
const UNSEEN: &[(&str, Level, &str)] = &[
    ("43.other_answers", Level::May, "a receiver has no reason to redirect"),
    ("44.default_ports", Level::May, "the addresses were given"),
];

// === impl Receiver ===

impl Receiver {
    /// A receiver at these addresses, with the limit that the protocol advises.
    pub fn new(grpc: Option<SocketAddr>, http: Option<SocketAddr>) -> Self {
        Self {
            grpc,
            http,
            max_request_bytes: 64 << 20,
            overloaded: None,
            partly: None,
            partials: Mutex::default(),
        }
    }

    /// Makes every check whose name contains `filter` and tells each outcome as it comes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the check that is being made.
    pub async fn check(&self, filter: &str, mut tell: impl FnMut(&Outcome)) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut add = |name: &str, level, verdict| {
            let outcome = Outcome { rule: rule_of(name), name: name.to_owned(), level, verdict };
            tell(&outcome);
            outcomes.push(outcome);
        };
        // What the answers say in passing comes last.
        let all = [
            http::CHECKS,
            json::CHECKS,
            grpc::CHECKS,
            limits::CHECKS,
            states::CHECKS,
            status::CHECKS,
        ];
        for check in all.into_iter().flatten().filter(|check| check.name.contains(filter)) {
            let lacks = match check.needs {
                Needs::Grpc if self.grpc.is_none() => Some("no gRPC address was given"),
                Needs::Http if self.http.is_none() => Some("no HTTP address was given"),
                Needs::Both if self.grpc.is_none() || self.http.is_none() => {
                    Some("one of the addresses was not given")
                }
                _ => None,
            };
            let verdict = match lacks {
                Some(reason) => Verdict::NotApplicable(reason.to_owned()),
                None => (check.run)(self).await,
            };
            add(check.name, check.level, verdict);
        }
        for &(name, level, reason) in UNSEEN {
            add(name, level, Verdict::NotApplicable(reason.to_owned()));
        }
        outcomes
    }

    /// Posts to the address for HTTP.
    async fn send(&self, request: Request) -> Result<Answer, Verdict> {
        let Some(to) = self.http else {
            return Err(Verdict::NotApplicable("no HTTP address was given".to_owned()));
        };
        let what = format!("{} {}", request.method, request.path);
        let sent = request.send_patiently(to).await;
        sent.map_err(|error| Verdict::Fail(format!("{what}: {error}")))
    }

    /// Calls the address for gRPC.
    async fn call(&self, call: Call) -> Result<Reply, Verdict> {
        let Some(to) = self.grpc else {
            return Err(Verdict::NotApplicable("no gRPC address was given".to_owned()));
        };
        let sent = call.send(to).await;
        sent.map_err(|error| Verdict::Fail(format!("{}: {error}", call.path)))
    }

    /// Expects success with an export response of the request's type.
    fn taken(&self, answer: &Answer, signal: Signal, encoding: Encoding) -> Result<(), Verdict> {
        if answer.status != 200 {
            return Err(Verdict::Fail(format!("200 was due, not {}", answer.status)));
        }
        let partial = match encoding {
            Encoding::Protobuf => signal.partial(&answer.body),
            Encoding::Json => signal.partial_json(&answer.body),
        };
        self.note(partial.map_err(Verdict::Fail)?);
        Ok(())
    }

    /// Expects OK with an export response.
    fn accepted(&self, reply: &Reply, signal: Signal) -> Result<(), Verdict> {
        if reply.code != 0 {
            return Err(Verdict::Fail(format!("OK was due, not status {}", reply.code)));
        }
        self.note(signal.partial(&reply.body).map_err(Verdict::Fail)?);
        Ok(())
    }

    fn note(&self, partial: Option<Partial>) {
        let mut partials = self.partials.lock().unwrap_or_else(PoisonError::into_inner);
        partials.extend(partial);
    }

    fn partials(&self) -> Vec<Partial> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Encoding ===

impl Encoding {
    const ALL: [Self; 2] = [Self::Protobuf, Self::Json];

    fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// A good request in it.
    fn request(self, signal: Signal) -> Vec<u8> {
        match self {
            Self::Protobuf => crate::telemetry::request(signal, "conformance"),
            Self::Json => crate::telemetry::json(signal).into_bytes(),
        }
    }

    /// A POST of this body.
    fn post(self, signal: Signal, body: impl Into<Vec<u8>>) -> Request {
        Request::post(signal.http_path(), self.media_type(), body.into())
    }
}

/// The number before the dot.
pub(crate) fn rule_of(name: &str) -> u8 {
    name.split('.').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
