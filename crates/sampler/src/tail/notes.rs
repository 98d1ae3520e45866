//! What each span of a kept trace tells of the decision, as the Collector's `adaptive_tail_sampling`
//! has it.

use sha2::{Digest, Sha256};
use teleflow_otlp::{Scalar, Writer};

use super::kept::MarkRef;
use super::mark::{RELIEF, SPAN_ATTRIBUTES};
use super::table::Taken;
use super::{TailSampler, Trigger};
use crate::Trace;
use crate::engine::{By, Verdict};

/// What the spans of kept traces tell of the decision, each in attributes of its own:
/// `otelcol.processor.adaptive_tail_sampling.` and what is named here. What was there under these
/// names is replaced. By default nothing is told.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Notes {
    /// `rule`, the policy or rule that kept the trace, and `trigger`, why it was decided when it was:
    /// `trace_timeout`, `root_span`, `span_limit`, `eviction` or `shutdown`. A span that comes after
    /// the decision tells the rule alone.
    pub decision: bool,
    /// `fingerprint`, the key of the trace, where a sampler that kept it has one. A span that comes
    /// after the decision does not tell it.
    pub fingerprint: FingerprintNote,
}

/// How the key of a trace is told.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum FingerprintNote {
    /// Not at all.
    #[default]
    None,
    /// As it is.
    Value,
    /// By the first eight bytes of its SHA-256, in hexadecimal digits: the same everywhere, and of
    /// one size. What can be guessed can be found out from it.
    Hash,
}

/// Marks with notes that traces share which were kept alike.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Until when they are good.
    writing: u32,
    marks: Vec<(Alike, MarkRef)>,
}

/// The mark without notes, what kept the trace and why it was decided.
type Alike = (MarkRef, Option<By>, Option<Trigger>);

/// The most that are looked through: rules and shares are few.
const MOST_SHARED: usize = 8;

const RULE: &str = "otelcol.processor.adaptive_tail_sampling.rule";
const TRIGGER: &str = "otelcol.processor.adaptive_tail_sampling.trigger";
const FINGERPRINT: &str = "otelcol.processor.adaptive_tail_sampling.fingerprint";

// === impl TailSampler ===

impl TailSampler {
    /// A mark with notes. `trigger` is why the trace was decided about just now; without it the
    /// decision was made before, or is about no trace.
    pub(super) fn noted(
        &mut self,
        mark: MarkRef,
        by: Option<By>,
        trigger: Option<Trigger>,
    ) -> MarkRef {
        let Notes { decision, fingerprint } = self.config.notes;
        if !decision && fingerprint == FingerprintNote::None {
            return mark;
        }
        let key = by.filter(|_| trigger.is_some() && fingerprint != FingerprintNote::None);
        let key = key.and_then(|by| self.engine.fingerprint(by));
        let alike = (mark, by, trigger);
        if key.is_none()
            && let Some(known) = self.noted.find(&alike, self.kept.writing())
        {
            return known;
        }
        let mut attributes = Vec::new();
        let mut writer = Writer::new(&mut attributes);
        let mut text = |key, text| writer.attribute(SPAN_ATTRIBUTES, key, Scalar::Str(text));
        let rule = match by {
            Some(By::RELIEF) => Some(RELIEF),
            by => by.and_then(|by| self.config.rules.told(by)).map(|(rule, _)| rule),
        };
        if decision && let Some(rule) = rule {
            text(RULE, rule);
        }
        if decision && let Some(trigger) = trigger.and_then(name) {
            text(TRIGGER, trigger);
        }
        match (fingerprint, key) {
            (FingerprintNote::None, _) | (_, None) => {}
            (FingerprintNote::Value, Some(key)) => text(FINGERPRINT, key),
            (FingerprintNote::Hash, Some(key)) => text(FINGERPRINT, &hash(key)),
        }
        let is_shared = key.is_none();
        let noted = match attributes.is_empty() {
            true => mark,
            false => self.kept.with_attributes(mark, &attributes),
        };
        if is_shared {
            self.noted.add(alike, noted);
        }
        noted
    }

    /// Has the key read of a trace that was decided about before, or by others: it is to be told, and
    /// since then others may have been decided about.
    #[inline]
    pub(super) fn read_key(&mut self, taken: &Taken, verdict: &Verdict) {
        let is_told = verdict.is_kept && self.config.notes.fingerprint != FingerprintNote::None;
        if let Some(by) = verdict.by.filter(|_| is_told) {
            let spans = self.table.spans_of(taken.first);
            let trace = Trace { id: taken.id, summary: taken.summary, spans: &spans };
            self.engine.read_key(by, &trace);
        }
    }
}

// === impl Shared ===

impl Shared {
    fn find(&mut self, alike: &Alike, writing: u32) -> Option<MarkRef> {
        if std::mem::replace(&mut self.writing, writing) != writing {
            self.marks.clear();
        }
        self.marks.iter().find(|(known, _)| known == alike).map(|(_, mark)| *mark)
    }

    fn add(&mut self, alike: Alike, mark: MarkRef) {
        if self.marks.len() < MOST_SHARED {
            self.marks.push((alike, mark));
        }
    }
}

/// The Collector's name for it.
const fn name(trigger: Trigger) -> Option<&'static str> {
    match trigger {
        Trigger::Wait => Some("trace_timeout"),
        Trigger::AfterRoot => Some("root_span"),
        Trigger::Spans => Some("span_limit"),
        Trigger::Bytes | Trigger::Count => Some("eviction"),
        Trigger::Drain => Some("shutdown"),
        // Of these nothing is kept, there is no trace, no rule is asked, or the Collector has no name.
        Trigger::TooLarge | Trigger::Relief | Trigger::Ingest | Trigger::Learned => None,
    }
}

fn hash(key: &str) -> String {
    let hash = Sha256::digest(key);
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hash_is_the_beginning_of_sha_256() {
        // The example of the Collector's documentation.
        assert_eq!(super::hash("test"), "9f86d081884c7d65");
        assert_eq!(super::hash(""), "e3b0c44298fc1c14");
    }
}
