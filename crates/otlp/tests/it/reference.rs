//! What prost makes of the same bytes.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::Message;
use teleflow_otlp::Signal;
use teleflow_testkit::telemetry::Telemetry;

/// A decoded request of any signal.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}

impl Request {
    pub(crate) fn generate(signal: Signal, telemetry: &mut Telemetry) -> Self {
        match signal {
            Signal::Traces => Self::Traces(telemetry.traces(6)),
            Signal::Metrics => Self::Metrics(telemetry.metrics(5)),
            Signal::Logs => Self::Logs(telemetry.logs(6)),
        }
    }

    pub(crate) fn decode(signal: Signal, bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        Ok(match signal {
            Signal::Traces => Self::Traces(Message::decode(bytes)?),
            Signal::Metrics => Self::Metrics(Message::decode(bytes)?),
            Signal::Logs => Self::Logs(Message::decode(bytes)?),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Traces(request) => request.encode_to_vec(),
            Self::Metrics(request) => request.encode_to_vec(),
            Self::Logs(request) => request.encode_to_vec(),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.items().len() as u64
    }

    /// Every item with its resource and scope, encoded: two requests that hold the same telemetry
    /// in other groups give the same list.
    pub(crate) fn items(&self) -> Vec<Vec<u8>> {
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

/// Calls `check` with generated requests of every signal, a thousand each.
pub(crate) fn each_generated(mut check: impl FnMut(Signal, &mut Telemetry, Request)) {
    for signal in Signal::ALL {
        for seed in 0..1000 {
            let mut telemetry = Telemetry::new(seed);
            let request = Request::generate(signal, &mut telemetry);
            check(signal, &mut telemetry, request);
        }
    }
}
