//! Decisions: about which trace, what is written to its spans, and what is counted.

use std::time::{Duration, Instant};

use teleflow_otlp::Signal;

use super::ingest::Strategy;
use super::kept::MarkRef;
use super::mark::Labels;
use super::{Output, PAYLOADS_AT_ONCE, TailSampler, Trigger};
use crate::engine::{By, Verdict};
use crate::rules::Rules;
use crate::{Randomness, Threshold, Trace, TraceSummary};

// === impl TailSampler ===

impl TailSampler {
    /// Decides about the traces that are next while their deadlines are `due`; `false` if it stopped
    /// for the caller to hand on what was kept.
    pub(super) fn decide_while(
        &mut self,
        now: Instant,
        due: impl Fn(u64) -> bool,
        trigger: Option<Trigger>,
        out: &mut Output,
    ) -> bool {
        let mut done = true;
        let start = out.kept.len();
        let mut seen = 0_usize;
        while let Some((trace, deadline)) = self.table.next()
            && due(deadline)
        {
            if out.kept.len() - start >= PAYLOADS_AT_ONCE {
                done = false;
                break;
            }
            if seen == 0 {
                seen = self.table.look_ahead(trace, &self.memory);
            }
            seen -= 1;
            match (trigger, self.config.sharing) {
                (None, Some(sharing)) => {
                    let trigger = self.table.trigger(trace);
                    self.agree(now, sharing, trace, trigger, out);
                }
                (trigger, _) => {
                    let trigger = trigger.unwrap_or_else(|| self.table.trigger(trace));
                    self.decide(now, trace, trigger, out);
                }
            }
            self.write_if_worth(out);
        }
        self.write_kept(out);
        done
    }

    /// Decides about a trace, and lets its spans go: on, or out.
    pub(super) fn decide(&mut self, now: Instant, trace: u32, trigger: Trigger, out: &mut Output) {
        self.settle(now, trace, trigger, None, out);
    }

    /// Lets the spans of a trace go, by a verdict about a part of it or, without one, by one about all.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        trace: u32,
        trigger: Trigger,
        early: Option<Verdict>,
        out: &mut Output,
    ) {
        let time = self.time(now);
        let taken = self.table.take(trace);
        let is_left_out =
            trigger == Trigger::TooLarge || (trigger == Trigger::Drain && self.config.drops_at_end);
        let vote = self.votes.take(&taken.id, taken.hash);
        let verdict = if let Some(early) = early {
            early
        } else if is_left_out {
            Verdict::LEFT_OUT
        } else if let Some(vote) = vote {
            self.read_key(&taken, &vote);
            vote
        } else {
            let spans = self.table.spans_of(taken.first);
            let trace = Trace { id: taken.id, summary: taken.summary, spans: &spans };
            let early = self.evictions.decide(trigger, &trace);
            early.unwrap_or_else(|| match self.config.strategy {
                Strategy::TraceComplete => self.engine.decide(now, &trace),
                Strategy::SpanIngest => self.engine.decide_late(now, &trace),
            })
        };
        self.tell(taken.id, trigger, &verdict, out);
        let spans = taken.summary.spans;
        self.stats.decisions[trigger as usize] += 1;
        // The clock may have gone back.
        let waited = ((time / 1_000_000) as u32).wrapping_sub(taken.came) as i32;
        let waited = u64::try_from(waited).unwrap_or_default();
        self.stats.waited_millis += waited;
        self.stats.waits.count(Duration::from_millis(waited));
        let mut dry = None;
        let mark = if verdict.is_kept {
            let label = self.label(&verdict);
            self.memory.remember_kept(taken.hash, verdict.threshold, verdict.by);
            self.stats.traces_kept += 1;
            self.count(verdict.threshold, spans);
            let chance = chance(&verdict, &taken.summary, taken.id);
            let mark = self.mark(verdict.threshold, chance, taken.has_state, label);
            self.noted(mark, verdict.by, Some(trigger))
        } else {
            self.memory.remember_dropped(taken.hash);
            self.stats.traces_sampled_out += 1;
            // Of rules the one that decided is told, too; only a policy drops.
            let is_dropped =
                verdict.by.is_some() && matches!(self.config.rules, Rules::Policies(_));
            self.stats.traces_dropped += u64::from(is_dropped);
            self.stats.spans_sampled_out[trigger as usize] += spans;
            dry = self.dry_drop(verdict.by);
            out.sampled_out += if dry.is_none() { spans } else { 0 };
            dry.unwrap_or(MarkRef::NONE)
        };
        let goes_on = verdict.is_kept || dry.is_some();
        let root = if goes_on { self.root_mark(mark, &taken) } else { None };
        let mut next = taken.first;
        while let Some((run, after)) = self.table.take_run(next) {
            next = after;
            let is_log = self.table.chunk(run.chunk).signal == Signal::Logs;
            if !goes_on {
                out.logs_sampled_out += u64::from(is_log) * u64::from(run.spans);
                self.table.release(run);
            } else if is_log {
                self.kept_logs.push(&mut self.table, run, dry.unwrap_or(MarkRef::NONE), false);
            } else if let Some(root) = root {
                self.push_with_root(run, mark, root, taken.has_state);
            } else {
                self.kept.push(&mut self.table, run, mark, taken.has_state);
            }
        }
    }

    /// What is to be written to the spans of a kept trace. `chance` is what decided, and whether it is
    /// to be told.
    pub(super) fn mark(
        &mut self,
        threshold: Option<Threshold>,
        (randomness, tells): (Randomness, bool),
        has_state: bool,
        label: u16,
    ) -> MarkRef {
        if self.config.dry_run {
            return self.dry_mark(threshold, label);
        }
        let stays = !self.config.writes_threshold || (threshold.is_none() && !has_state);
        if stays {
            return MarkRef::label(label);
        }
        self.kept.mark(threshold, (randomness, tells), has_state, label)
    }

    /// Counts kept spans, and what they stand for.
    pub(super) fn count(&mut self, threshold: Option<Threshold>, spans: u64) {
        self.stats.spans_kept += spans;
        match threshold {
            Some(threshold) => {
                self.stats.spans_estimated += threshold.adjusted_count() * spans as f64;
            }
            None => self.stats.spans_unknown += spans,
        }
    }

    pub(super) fn label(&mut self, verdict: &Verdict) -> u16 {
        self.label_of(verdict.by)
    }

    pub(super) fn label_of(&mut self, by: Option<By>) -> u16 {
        if !self.config.records_policy {
            return Labels::NONE;
        }
        self.labels.of(&self.config.rules, by)
    }
}

/// What chance decided about a trace with, and whether that is to be told.
pub(super) fn chance(
    verdict: &Verdict,
    summary: &TraceSummary,
    id: [u8; 16],
) -> (Randomness, bool) {
    let own = summary.randomness.unwrap_or_else(|| Randomness::from_trace_id(id));
    (verdict.randomness.unwrap_or(own), verdict.randomness.is_some())
}
