//! What comes out is as it came, but for what the configuration writes.

use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use prost::Message;
use teleflow_otlp::Signal;
use teleflow_sampler::{Config, Counts, Notes};

/// What is as it came, and what may be written.
pub(super) trait Check {
    fn check_item(&self, signal: Signal, came: &[u8], went: &[u8]);
    fn check_scope(&self, came: &[u8], went: &[u8]);
}

impl Check for Config {
    fn check_item(&self, signal: Signal, came: &[u8], went: &[u8]) {
        let Self { writes_threshold, dry_run, counts, notes, .. } = self;
        let has_notes = *counts != Counts::None || *notes != Notes::default();
        if signal != Signal::Traces || (!writes_threshold && !has_notes) {
            assert_eq!(came, went);
            return;
        }
        let [came, went] = [came, went].map(|message| {
            let mut span = Span::decode(message).unwrap();
            if *writes_threshold && !dry_run {
                span.trace_state.clear();
            }
            span.attributes.retain(|pair| {
                let written = ["meta.", "tailsampling.", "otelcol.processor."];
                !written.iter().any(|prefix| pair.key.starts_with(prefix))
            });
            span
        });
        assert_eq!(came, went);
    }

    fn check_scope(&self, came: &[u8], went: &[u8]) {
        if !self.records_policy && self.host.is_none() && !self.dry_run {
            assert_eq!(came, went);
            return;
        }
        let [came, went] = [came, went].map(|scope| {
            let mut group = ScopeSpans::decode(scope).unwrap();
            let mut scope = group.scope.take().unwrap_or_default();
            scope.attributes.retain(|pair| !pair.key.starts_with("tailsampling."));
            (scope, group)
        });
        assert_eq!(came, went);
    }
}
