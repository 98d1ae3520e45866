//! The three signals: where they go and what is answered.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::Value;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
}

/// A `partial_success` that says something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partial {
    /// How many items were rejected.
    pub rejected: i64,
    /// Why, or a warning.
    pub message: String,
}

// === impl Signal ===

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Its name in paths and in the sections of the Collector's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// Where it is posted to.
    pub fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// The gRPC method that takes it.
    pub fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// The key of what was rejected, in JSON.
    pub(crate) fn rejected_key(self) -> &'static str {
        match self {
            Self::Traces => "rejectedSpans",
            Self::Metrics => "rejectedDataPoints",
            Self::Logs => "rejectedLogRecords",
        }
    }

    /// Reads an export response; `None` is full success. One that is set and empty is the same, as
    /// the comments in the protocol's files say.
    pub(crate) fn partial(self, body: &[u8]) -> Result<Option<Partial>, String> {
        let none = |error: prost::DecodeError| format!("no export response: {error}");
        let found = match self {
            Self::Traces => ExportTraceServiceResponse::decode(body)
                .map_err(none)?
                .partial_success
                .map(|partial| (partial.rejected_spans, partial.error_message)),
            Self::Metrics => ExportMetricsServiceResponse::decode(body)
                .map_err(none)?
                .partial_success
                .map(|partial| (partial.rejected_data_points, partial.error_message)),
            Self::Logs => ExportLogsServiceResponse::decode(body)
                .map_err(none)?
                .partial_success
                .map(|partial| (partial.rejected_log_records, partial.error_message)),
        };
        let found = found.map(|(rejected, message)| Partial { rejected, message });
        Ok(found.filter(Partial::says_something))
    }

    /// The same of a JSON response.
    pub(crate) fn partial_json(self, body: &[u8]) -> Result<Option<Partial>, String> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
        let Some(fields) = value.as_object() else { return Err("no JSON object".to_owned()) };
        let Some(partial) = fields.get("partialSuccess").filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let rejected = partial.get(self.rejected_key());
        let rejected = rejected.and_then(|rejected| {
            rejected.as_i64().or_else(|| rejected.as_str().and_then(|text| text.parse().ok()))
        });
        let message = partial.get("errorMessage").and_then(Value::as_str).unwrap_or_default();
        let found = Partial { rejected: rejected.unwrap_or_default(), message: message.to_owned() };
        Ok(Some(found).filter(Partial::says_something))
    }

    /// An export response with a partial success.
    pub(crate) fn partial_response(self, rejected: i64, message: &str) -> Vec<u8> {
        use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;
        use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
        let error_message = message.to_owned();
        match self {
            Self::Traces => ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message,
                }),
            }
            .encode_to_vec(),
            Self::Metrics => ExportMetricsServiceResponse {
                partial_success: Some(ExportMetricsPartialSuccess {
                    rejected_data_points: rejected,
                    error_message,
                }),
            }
            .encode_to_vec(),
            Self::Logs => ExportLogsServiceResponse {
                partial_success: Some(ExportLogsPartialSuccess {
                    rejected_log_records: rejected,
                    error_message,
                }),
            }
            .encode_to_vec(),
        }
    }
}

// === impl Partial ===

impl Partial {
    fn says_something(&self) -> bool {
        self.rejected != 0 || !self.message.is_empty()
    }
}
