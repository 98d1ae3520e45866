//! `exporters.failover`

use std::time::Duration;

use super::super::later;
use super::super::read::At;
use super::delivery::{self, Retry};
use super::otlp_grpc::{self, OtlpGrpcExporter};
use super::otlp_http::{self, OtlpHttpExporter};
use super::queue::{self, Queue};

/// Sends to the first destination that takes what is sent. The Collector has a connector for that.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FailoverExporter {
    /// The best one first. At least one; none has a queue.
    pub(crate) destinations: Vec<Destination>,
    /// When one that has failed is tried again. Default 1 minute. More than 0.
    pub(crate) retry_interval: Duration,
    /// Around all of them. Default on.
    pub(crate) retry: Option<Retry>,
    /// Before all of them. Default on.
    pub(crate) queue: Option<Queue>,
}

/// One of `destinations`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Destination {
    /// `otlp` or `otlp_grpc`
    Grpc(OtlpGrpcExporter),
    /// `otlphttp` or `otlp_http`
    Http(OtlpHttpExporter),
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> FailoverExporter {
    at.section(later::NONE, |keys| {
        let destinations = keys.require("destinations").map(|at| {
            let items = at.items();
            if items.is_empty() && at.is_list() {
                at.refuse_empty("destination");
            }
            items.iter().filter_map(read_destination).collect()
        });
        let interval = keys.value("retry_interval").and_then(|at| {
            let interval = at.duration();
            if interval == Some(Duration::ZERO) {
                at.refuse("be more than 0", None);
            }
            interval
        });
        FailoverExporter {
            destinations: destinations.unwrap_or_default(),
            retry_interval: interval.unwrap_or(Duration::from_secs(60)),
            retry: delivery::read_retry(keys, Some(Retry::default())),
            queue: queue::read(keys, queue::DEFAULT_CONSUMERS),
        }
    })
}

/// Reads a mapping of one type to its settings.
fn read_destination(at: &At<'_>) -> Option<Destination> {
    at.section(later::NONE, |keys| {
        let mut found = Vec::new();
        for name in ["otlp", "otlp_grpc"] {
            found.extend(keys.find(name).map(|at| Destination::Grpc(otlp_grpc::read_inside(&at))));
        }
        for name in ["otlphttp", "otlp_http"] {
            found.extend(keys.find(name).map(|at| Destination::Http(otlp_http::read_inside(&at))));
        }
        if found.len() != 1 && at.is_map() {
            at.report
                .error(at.value_at(), format!("{} must have one key, otlp or otlphttp", at.path()));
        }
        found.pop()
    })
}
