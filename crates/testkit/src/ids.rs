//! The lengths of ids, which prost does not look at, read by prost all the same.
//!
//! The messages here say of each id that it repeats, so that one which a later one replaces is seen
//! as well, and name nothing but the way to the ids.

use prost::Message;
use teleflow_otlp::Signal;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<Resource>,
}

/// Of any signal: what the others have under these numbers are other bytes.
#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(bytes = "vec", repeated, tag = "2")]
    scopes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(bytes = "vec", repeated, tag = "2")]
    items: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", repeated, tag = "1")]
    trace_id: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    span_id: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    parent_span_id: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", repeated, tag = "1")]
    trace_id: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    span_id: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(bytes = "vec", repeated, tag = "9")]
    trace_id: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "10")]
    span_id: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "5")]
    gauge: Vec<Numbers>,
    #[prost(message, repeated, tag = "7")]
    sum: Vec<Numbers>,
    #[prost(message, repeated, tag = "9")]
    histogram: Vec<Histogram>,
    #[prost(message, repeated, tag = "10")]
    exponential: Vec<Exponential>,
}

#[derive(Clone, PartialEq, Message)]
struct Numbers {
    #[prost(message, repeated, tag = "1")]
    points: Vec<NumberPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct NumberPoint {
    #[prost(message, repeated, tag = "5")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(message, repeated, tag = "1")]
    points: Vec<HistogramPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramPoint {
    #[prost(message, repeated, tag = "8")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Exponential {
    #[prost(message, repeated, tag = "1")]
    points: Vec<ExponentialPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct ExponentialPoint {
    #[prost(message, repeated, tag = "11")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(bytes = "vec", repeated, tag = "4")]
    span_id: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    trace_id: Vec<Vec<u8>>,
}

/// Whether every trace id of a request that prost decodes has 16 bytes or none, and every span id 8
/// or none.
///
/// # Panics
///
/// If prost does not decode it.
pub fn are_right(signal: Signal, request: &[u8]) -> bool {
    let mut all = Ids::default();
    for resource in decode::<Request>(request).resources {
        for scope in resource.scopes {
            for item in decode::<Scope>(&scope).items {
                match signal {
                    Signal::Traces => all.span(decode(&item)),
                    Signal::Metrics => all.metric(decode(&item)),
                    Signal::Logs => all.log(decode(&item)),
                }
            }
        }
    }
    all.trace.iter().all(|id| [0, 16].contains(&id.len()))
        && all.span.iter().all(|id| [0, 8].contains(&id.len()))
}

/// Every id of a request.
#[derive(Debug, Default)]
struct Ids {
    trace: Vec<Vec<u8>>,
    span: Vec<Vec<u8>>,
}

// === impl Ids ===

impl Ids {
    fn span(&mut self, span: Span) {
        self.trace.extend(span.trace_id);
        self.span.extend(span.span_id);
        self.span.extend(span.parent_span_id);
        for link in span.links {
            self.trace.extend(link.trace_id);
            self.span.extend(link.span_id);
        }
    }

    fn log(&mut self, record: LogRecord) {
        self.trace.extend(record.trace_id);
        self.span.extend(record.span_id);
    }

    fn metric(&mut self, metric: Metric) {
        let numbers = metric.gauge.into_iter().chain(metric.sum);
        let numbers = numbers.flat_map(|data| data.points).flat_map(|point| point.exemplars);
        let histograms = metric.histogram.into_iter().flat_map(|data| data.points);
        let exponentials = metric.exponential.into_iter().flat_map(|data| data.points);
        for exemplar in numbers
            .chain(histograms.flat_map(|point| point.exemplars))
            .chain(exponentials.flat_map(|point| point.exemplars))
        {
            self.trace.extend(exemplar.trace_id);
            self.span.extend(exemplar.span_id);
        }
    }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).expect("prost has decoded it with more fields")
}
