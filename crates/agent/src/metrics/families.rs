//! Families of metrics, written one after the other.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What a sample is of. Keys are ours, and values are those of the config file, of the protocol, or
/// one of a few words: never what a peer has sent.
pub(super) type Labels = Vec<(&'static str, String)>;

/// The samples of one family.
pub(super) type Rows = Vec<(Labels, u64)>;

/// How many there are of what sizes.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    /// All together.
    pub(super) sum: f64,
    /// By the most that they may be, in rising order; last those that are more.
    pub(super) buckets: Vec<(f64, u64)>,
}

/// Writes families.
#[derive(Debug)]
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

// === impl Families ===

impl Families<'_> {
    /// Something that only grows. Where it is written, its name ends with `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, rows: Rows) -> fmt::Result {
        self.family(name, help, rows, ConstCounter::new)
    }

    /// Something that comes and goes.
    pub(super) fn gauge(&mut self, name: &str, help: &str, rows: Rows) -> fmt::Result {
        self.family(name, help, rows, ConstGauge::new)
    }

    /// Sizes. Where they are written, there is a series for each bucket, their sum and their number.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        rows: Vec<(Labels, Sizes)>,
    ) -> fmt::Result {
        self.family(name, help, rows, |sizes| sizes)
    }

    /// A single counter of something that is not counted in whole numbers.
    pub(super) fn float_counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    /// A family of which there is nothing is not written.
    fn family<T, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        rows: Vec<(Labels, T)>,
        metric: impl Fn(T) -> M,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().map(|(labels, value)| (labels, metric(value))).peekable();
        let Some((_, first)) = rows.peek() else { return Ok(()) };
        let mut family = self.0.encode_descriptor(name, help, None, first.metric_type())?;
        rows.try_for_each(|(labels, metric)| metric.encode(family.encode_family(&labels)?))
    }
}

// === impl Sizes ===

impl EncodeMetric for Sizes {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// `labels`, and one more.
pub(super) fn with(labels: &Labels, key: &'static str, value: &str) -> Labels {
    let one_more = (key, value.to_owned());
    labels.iter().cloned().chain([one_more]).collect()
}
