//! Families of metrics, written one after the other.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What a sample is of. Keys are ours, and values are those of the config file, of the protocol, or
/// one of a few words: never what a peer has sent.
pub(super) type Labels = Vec<(&'static str, String)>;

/// The samples of one family.
pub(super) type Rows = Vec<(Labels, u64)>;

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

    /// A single counter of something that is not counted in whole numbers.
    pub(super) fn float_counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    /// A family of which there is nothing is not written.
    fn family<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        rows: Rows,
        metric: impl Fn(u64) -> M,
    ) -> fmt::Result {
        let Some((_, first)) = rows.first() else { return Ok(()) };
        let kind = metric(*first).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in &rows {
            metric(*value).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

/// `labels`, and one more.
pub(super) fn with(labels: &Labels, key: &'static str, value: &str) -> Labels {
    let one_more = (key, value.to_owned());
    labels.iter().cloned().chain([one_more]).collect()
}
