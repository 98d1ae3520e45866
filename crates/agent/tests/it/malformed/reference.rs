//! What prost makes of a request.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::{DecodeError, Message};
use teleflow::Signal;

/// How many spans, data points or log records a request holds, if it is one.
pub(crate) fn items(signal: Signal, request: &[u8]) -> Result<u64, DecodeError> {
    let count = match signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(request)?;
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            scopes.map(|scope| scope.spans.len()).sum::<usize>()
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(request)?;
            let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
            scopes.map(|scope| scope.log_records.len()).sum()
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(request)?;
            let scopes = request.resource_metrics.iter().flat_map(|metrics| &metrics.scope_metrics);
            let metrics = scopes.flat_map(|scope| &scope.metrics);
            metrics.map(|metric| metric.data.as_ref().map_or(0, points)).sum()
        }
    };
    Ok(count as u64)
}

fn points(data: &Data) -> usize {
    match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    }
}
