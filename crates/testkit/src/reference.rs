//! What prost makes of the same bytes.

use std::env;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::Message;
use teleflow_otlp::Signal;

use crate::telemetry::Telemetry;

/// A decoded request of any signal.
#[derive(Clone, Debug)]
pub enum Request {
    /// Of spans.
    Traces(ExportTraceServiceRequest),
    /// Of metrics.
    Metrics(ExportMetricsServiceRequest),
    /// Of log records.
    Logs(ExportLogsServiceRequest),
}

impl Request {
    /// A request of a few items.
    pub fn generate(signal: Signal, telemetry: &mut Telemetry) -> Self {
        match signal {
            Signal::Traces => Self::Traces(telemetry.traces(6)),
            Signal::Metrics => Self::Metrics(telemetry.metrics(5)),
            Signal::Logs => Self::Logs(telemetry.logs(6)),
        }
    }

    /// What prost reads.
    ///
    /// # Errors
    ///
    /// What it refuses.
    pub fn decode(signal: Signal, bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        Ok(match signal {
            Signal::Traces => Self::Traces(Message::decode(bytes)?),
            Signal::Metrics => Self::Metrics(Message::decode(bytes)?),
            Signal::Logs => Self::Logs(Message::decode(bytes)?),
        })
    }

    /// What prost writes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Traces(request) => request.encode_to_vec(),
            Self::Metrics(request) => request.encode_to_vec(),
            Self::Logs(request) => request.encode_to_vec(),
        }
    }

    /// How many spans, data points or log records there are.
    pub fn count(&self) -> u64 {
        self.items().len() as u64
    }

    /// Every item with its resource and scope, encoded: two requests that hold the same telemetry
    /// in other groups give the same list.
    pub fn items(&self) -> Vec<Vec<u8>> {
        let mut items = Vec::new();
        match self.clone() {
            Self::Traces(request) => {
                for mut resource in request.resource_spans {
                    for mut scope in std::mem::take(&mut resource.scope_spans) {
                        for span in std::mem::take(&mut scope.spans) {
                            let mut one = resource.clone();
                            let mut group = scope.clone();
                            group.spans.push(span);
                            one.scope_spans.push(group);
                            items.push(one.encode_to_vec());
                        }
                    }
                }
            }
            Self::Logs(request) => {
                for mut resource in request.resource_logs {
                    for mut scope in std::mem::take(&mut resource.scope_logs) {
                        for record in std::mem::take(&mut scope.log_records) {
                            let mut one = resource.clone();
                            let mut group = scope.clone();
                            group.log_records.push(record);
                            one.scope_logs.push(group);
                            items.push(one.encode_to_vec());
                        }
                    }
                }
            }
            Self::Metrics(request) => {
                for mut resource in request.resource_metrics {
                    for mut scope in std::mem::take(&mut resource.scope_metrics) {
                        for metric in std::mem::take(&mut scope.metrics) {
                            for one_point in points(metric) {
                                let mut one = resource.clone();
                                let mut group = scope.clone();
                                group.metrics.push(one_point);
                                one.scope_metrics.push(group);
                                items.push(one.encode_to_vec());
                            }
                        }
                    }
                }
            }
        }
        items
    }
}

/// A metric for each of a metric's points.
fn points(metric: Metric) -> Vec<Metric> {
    macro_rules! each {
        ($arm:ident, $data:expr) => {{
            let mut data = $data.clone();
            std::mem::take(&mut data.data_points)
                .into_iter()
                .map(|point| {
                    let mut data = data.clone();
                    data.data_points.push(point);
                    Metric { data: Some(Data::$arm(data)), ..metric.clone() }
                })
                .collect()
        }};
    }
    match &metric.data {
        None => Vec::new(),
        Some(Data::Gauge(data)) => each!(Gauge, data),
        Some(Data::Sum(data)) => each!(Sum, data),
        Some(Data::Histogram(data)) => each!(Histogram, data),
        Some(Data::ExponentialHistogram(data)) => each!(ExponentialHistogram, data),
        Some(Data::Summary(data)) => each!(Summary, data),
    }
}

/// Calls `check` with generated requests of every signal, a thousand each; with
/// `TELEFLOW_GENERATED` as many as that says.
///
/// # Panics
///
/// If that is no number.
pub fn each_generated(mut check: impl FnMut(Signal, &mut Telemetry, Request)) {
    let requests = env::var("TELEFLOW_GENERATED").map_or(1000, |requests| {
        requests.parse().expect("TELEFLOW_GENERATED is a number of requests")
    });
    for signal in Signal::ALL {
        for seed in 0..requests {
            let mut telemetry = Telemetry::new(seed);
            let request = Request::generate(signal, &mut telemetry);
            check(signal, &mut telemetry, request);
        }
    }
}
