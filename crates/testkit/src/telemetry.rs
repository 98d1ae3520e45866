//! Seeded requests that use every field of the protocol.

use fastrand::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, exemplar, exponential_histogram_data_point::Buckets, metric,
    number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use teleflow_otlp::Signal;

/// A point in 2025, in nanoseconds since 1970.
pub const START: u64 = 1_750_000_000_000_000_000;

/// Makes telemetry from a seed.
#[derive(Debug)]
pub struct Telemetry {
    rng: Rng,
}

// === impl Telemetry ===

impl Telemetry {
    /// The same seed makes the same telemetry.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed) }
    }

    /// The source of chance, for what a test decides itself.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// A request of any signal, encoded: up to three resources, three scopes each, and so many spans,
    /// points a metric or records a scope at most.
    pub fn request(&mut self, signal: Signal, items: usize) -> Vec<u8> {
        match signal {
            Signal::Traces => self.traces(items).encode_to_vec(),
            Signal::Metrics => self.metrics(items).encode_to_vec(),
            Signal::Logs => self.logs(items).encode_to_vec(),
        }
    }

    /// A trace request: up to three resources, three scopes each, `spans` spans a scope at most.
    pub fn traces(&mut self, spans: usize) -> ExportTraceServiceRequest {
        let resource_spans = self.some(1..=3, |this| ResourceSpans {
            resource: this.resource(),
            scope_spans: this.some(0..=3, |this| ScopeSpans {
                scope: this.scope(),
                spans: this.some(0..=spans, Self::span),
                schema_url: this.text(),
            }),
            schema_url: this.text(),
        });
        ExportTraceServiceRequest { resource_spans }
    }

    /// A metrics request: every kind of metric, `points` data points a metric at most.
    pub fn metrics(&mut self, points: usize) -> ExportMetricsServiceRequest {
        let resource_metrics = self.some(1..=3, |this| ResourceMetrics {
            resource: this.resource(),
            scope_metrics: this.some(0..=3, |this| ScopeMetrics {
                scope: this.scope(),
                metrics: this.some(0..=4, |this| this.metric(points)),
                schema_url: this.text(),
            }),
            schema_url: this.text(),
        });
        ExportMetricsServiceRequest { resource_metrics }
    }

    /// A logs request: `records` records a scope at most.
    pub fn logs(&mut self, records: usize) -> ExportLogsServiceRequest {
        let resource_logs = self.some(1..=3, |this| ResourceLogs {
            resource: this.resource(),
            scope_logs: this.some(0..=3, |this| ScopeLogs {
                scope: this.scope(),
                log_records: this.some(0..=records, Self::log_record),
                schema_url: this.text(),
            }),
            schema_url: this.text(),
        });
        ExportLogsServiceRequest { resource_logs }
    }

    /// A span with everything a span can have.
    pub fn span(&mut self) -> Span {
        let start = START + self.rng.u64(..10_000_000_000);
        Span {
            trace_id: self.bytes(16),
            span_id: self.bytes(8),
            trace_state: self.text(),
            parent_span_id: if self.rng.bool() { self.bytes(8) } else { Vec::new() },
            flags: self.rng.u32(..0x400),
            name: self.text(),
            kind: self.rng.i32(0..6),
            start_time_unix_nano: start,
            end_time_unix_nano: start + self.rng.u64(..5_000_000_000),
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(..3),
            events: self.some(0..=2, |this| Event {
                time_unix_nano: start,
                name: this.text(),
                attributes: this.attributes(),
                dropped_attributes_count: this.rng.u32(..3),
            }),
            dropped_events_count: self.rng.u32(..3),
            links: self.some(0..=2, |this| Link {
                trace_id: this.bytes(16),
                span_id: this.bytes(8),
                trace_state: this.text(),
                attributes: this.attributes(),
                dropped_attributes_count: this.rng.u32(..3),
                flags: this.rng.u32(..0x400),
            }),
            dropped_links_count: self.rng.u32(..3),
            status: self
                .rng
                .bool()
                .then(|| Status { message: self.text(), code: self.rng.i32(0..3) }),
        }
    }

    /// A metric of any kind.
    pub fn metric(&mut self, points: usize) -> Metric {
        let temporality = self.rng.i32(0..3);
        let data = match self.rng.u8(..6) {
            0 => Some(metric::Data::Gauge(Gauge {
                data_points: self.some(0..=points, Self::number_point),
            })),
            1 => Some(metric::Data::Sum(Sum {
                data_points: self.some(0..=points, Self::number_point),
                aggregation_temporality: temporality,
                is_monotonic: self.rng.bool(),
            })),
            2 => Some(metric::Data::Histogram(Histogram {
                data_points: self.some(0..=points, Self::histogram_point),
                aggregation_temporality: temporality,
            })),
            3 => Some(metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.some(0..=points, Self::exponential_point),
                aggregation_temporality: temporality,
            })),
            4 => Some(metric::Data::Summary(Summary {
                data_points: self.some(0..=points, Self::summary_point),
            })),
            _ => None,
        };
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: self.attributes(),
            data,
        }
    }

    /// A log record with everything a record can have.
    pub fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: START + self.rng.u64(..10_000_000_000),
            observed_time_unix_nano: START,
            severity_number: self.rng.i32(0..25),
            severity_text: self.text(),
            body: self.rng.bool().then(|| self.value(3)),
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(..3),
            flags: self.rng.u32(..0x200),
            trace_id: if self.rng.bool() { self.bytes(16) } else { Vec::new() },
            span_id: if self.rng.bool() { self.bytes(8) } else { Vec::new() },
            event_name: self.text(),
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: START,
            time_unix_nano: START + self.rng.u64(..1_000_000),
            exemplars: self.exemplars(),
            flags: self.rng.u32(..2),
            value: match self.rng.u8(..3) {
                0 => Some(number_data_point::Value::AsDouble(self.rng.f64() * 1e6)),
                1 => Some(number_data_point::Value::AsInt(self.rng.i64(..))),
                _ => None,
            },
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        let bounds: Vec<f64> = (0..self.rng.usize(..6)).map(|i| i as f64 * 2.5).collect();
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: START,
            time_unix_nano: START + self.rng.u64(..1_000_000),
            count: self.rng.u64(..1000),
            sum: self.maybe_double(),
            bucket_counts: (0..=bounds.len()).map(|_| self.rng.u64(..100)).collect(),
            explicit_bounds: bounds,
            exemplars: self.exemplars(),
            flags: self.rng.u32(..2),
            min: self.maybe_double(),
            max: self.maybe_double(),
        }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: START,
            time_unix_nano: START + self.rng.u64(..1_000_000),
            count: self.rng.u64(..1000),
            sum: self.maybe_double(),
            scale: self.rng.i32(-10..20),
            zero_count: self.rng.u64(..10),
            positive: self.rng.bool().then(|| self.buckets()),
            negative: self.rng.bool().then(|| self.buckets()),
            flags: self.rng.u32(..2),
            exemplars: self.exemplars(),
            min: self.maybe_double(),
            max: self.maybe_double(),
            zero_threshold: self.rng.f64(),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets {
            offset: self.rng.i32(-100..100),
            bucket_counts: self.some(0..=6, |this| this.rng.u64(..100_000)),
        }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: START,
            time_unix_nano: START + self.rng.u64(..1_000_000),
            count: self.rng.u64(..1000),
            sum: self.rng.f64(),
            quantile_values: self.some(0..=3, |this| ValueAtQuantile {
                quantile: this.rng.f64(),
                value: this.rng.f64(),
            }),
            flags: self.rng.u32(..2),
        }
    }

    fn exemplars(&mut self) -> Vec<Exemplar> {
        self.some(0..=1, |this| Exemplar {
            filtered_attributes: this.attributes(),
            time_unix_nano: START,
            span_id: this.bytes(8),
            trace_id: this.bytes(16),
            value: Some(if this.rng.bool() {
                exemplar::Value::AsDouble(this.rng.f64())
            } else {
                exemplar::Value::AsInt(this.rng.i64(..))
            }),
        })
    }

    fn maybe_double(&mut self) -> Option<f64> {
        self.rng.bool().then(|| self.rng.f64() * 1e3)
    }

    fn resource(&mut self) -> Option<Resource> {
        (self.rng.u8(..8) > 0).then(|| Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(..3),
            entity_refs: self.some(0..=1, |this| EntityRef {
                schema_url: this.text(),
                r#type: this.text(),
                id_keys: this.some(0..=2, Self::text),
                description_keys: this.some(0..=2, Self::text),
            }),
        })
    }

    fn scope(&mut self) -> Option<InstrumentationScope> {
        (self.rng.u8(..8) > 0).then(|| InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(..3),
        })
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.some(0..=5, |this| this.key_value(2))
    }

    fn key_value(&mut self, depth: u8) -> KeyValue {
        KeyValue {
            key: self.text(),
            value: (self.rng.u8(..10) > 0).then(|| self.value(depth)),
            ..KeyValue::default()
        }
    }

    /// A value of any kind, arrays and maps nested at most `depth` deep.
    pub fn value(&mut self, depth: u8) -> AnyValue {
        use any_value::Value;
        let kinds = if depth == 0 { 6 } else { 8 };
        let value = match self.rng.u8(..kinds) {
            0 => None,
            1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::BoolValue(self.rng.bool())),
            3 => Some(Value::IntValue(self.rng.i64(..))),
            4 => Some(Value::DoubleValue(match self.rng.u8(..8) {
                0 => f64::NAN,
                1 => f64::NEG_INFINITY,
                _ => f64::from_bits(self.rng.u64(..)),
            })),
            5 => {
                let len = self.rng.usize(..20);
                Some(Value::BytesValue(self.bytes(len)))
            }
            6 => Some(Value::ArrayValue(ArrayValue {
                values: self.some(0..=3, |this| this.value(depth - 1)),
            })),
            _ => Some(Value::KvlistValue(KeyValueList {
                values: self.some(0..=3, |this| this.key_value(depth - 1)),
            })),
        };
        AnyValue { value }
    }

    fn text(&mut self) -> String {
        match self.rng.u8(..12) {
            0 => String::new(),
            1 => "grüße, 世界 🌍".to_owned(),
            2 => "quote \" backslash \\ newline \n escape \u{1b}[31m".to_owned(),
            3 => "x".repeat(self.rng.usize(100..300)),
            _ => (0..self.rng.usize(1..24)).map(|_| self.rng.alphanumeric()).collect(),
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn some<T>(
        &mut self,
        count: std::ops::RangeInclusive<usize>,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let count = self.rng.usize(count);
        (0..count).map(|_| make(self)).collect()
    }
}
