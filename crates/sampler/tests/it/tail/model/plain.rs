//! The tail sampler written plainly: a map of traces, each a list of spans, and a number for a clock.

use std::collections::{BTreeMap, BTreeSet};

use teleflow_sampler::{Remembered, Trigger};

/// What a policy of the model keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Keeps {
    Errors,
    /// Longer than so many milliseconds.
    Slow(u64),
    Percent(f64),
    /// As many spans a second as there will ever be: nobody knows how likely that is.
    Unlimited,
    /// Drops traces of at least so many spans.
    DropsFrom(u64),
}

/// What the model is to do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) policies: Vec<(&'static str, Keeps)>,
    /// In nanoseconds.
    pub(super) wait: u64,
    pub(super) after_root: Option<u64>,
    pub(super) max_traces: usize,
    pub(super) blocks_when_full: bool,
    pub(super) max_spans: Option<u64>,
    pub(super) max_bytes: Option<u64>,
    pub(super) remembered: Remembered,
    pub(super) payload_bytes: usize,
    pub(super) writes_threshold: bool,
    pub(super) records_policy: bool,
    pub(super) drops_at_end: bool,
}

/// A span as it was sent.
#[derive(Clone, Debug)]
pub(in crate::tail) struct Sent {
    pub(in crate::tail) number: usize,
    /// `None` where it is no id.
    pub(in crate::tail) id: Option<[u8; 16]>,
    pub(super) is_root: bool,
    pub(super) is_error: bool,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) state: State,
    pub(super) field_len: u64,
    /// What its resource and scope take.
    pub(super) envelope_len: usize,
}

/// What a span's trace state says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) text: String,
    pub(super) threshold: Option<u64>,
    pub(super) randomness: Option<u64>,
    /// The entries of others.
    pub(super) others: String,
}

/// What is to come out of a span.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expected {
    /// `None` where chance goes by a hash that nobody here knows.
    pub(super) state: Option<String>,
    pub(super) policy: Option<&'static str>,
    pub(super) is_late: bool,
    /// Only chance knows whether it does.
    pub(super) perhaps: bool,
}

#[derive(Clone, Debug)]
struct Held {
    spans: Vec<Sent>,
    came: u64,
    deadline: u64,
    /// Its place among those of the same deadline.
    place: u64,
    trigger: Trigger,
}

#[derive(Clone, Copy, Debug)]
enum Past {
    Kept(Option<u64>, Option<&'static str>),
    Dropped,
}

#[derive(Clone, Copy, Debug)]
struct Verdict {
    threshold: Option<u64>,
    by: &'static str,
    perhaps: bool,
}

pub(super) struct Model {
    pub(super) plan: Plan,
    held: BTreeMap<[u8; 16], Held>,
    decided: BTreeMap<[u8; 16], Past>,
    places: u64,
    /// By number.
    pub(super) expected: BTreeMap<usize, Expected>,
    pub(super) left_out: u64,
    pub(super) counts: Counts,
}

/// What the sampler counts as well.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) traces: u64,
    pub(super) decisions: [u64; Trigger::ALL.len()],
    pub(super) waited_millis: u64,
    pub(super) late_kept: u64,
    pub(super) late_sampled_out: u64,
    pub(super) without_trace: u64,
    pub(super) below_large: u64,
    pub(super) spans_sampled_out: [u64; Trigger::ALL.len()],
}

/// In place of a policy.
pub(super) const NOBODY_KNOWS: &str = "?";

const RANGE: f64 = 72_057_594_037_927_936.0;

// === impl Model ===

impl Model {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            held: BTreeMap::new(),
            decided: BTreeMap::new(),
            places: 0,
            expected: BTreeMap::new(),
            left_out: 0,
            counts: Counts::default(),
        }
    }

    pub(super) fn traces(&self) -> usize {
        self.held.len()
    }

    pub(super) fn spans(&self) -> usize {
        self.held.values().map(|trace| trace.spans.len()).sum()
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.held.values().map(|trace| trace.deadline).min()
    }

    pub(super) fn reconfigure(&mut self, plan: Plan) {
        let names: BTreeSet<_> = plan.policies.iter().map(|(name, _)| *name).collect();
        for past in self.decided.values_mut() {
            if let Past::Kept(_, by) = past {
                *by = by.filter(|name| names.contains(name));
            }
        }
        self.plan = plan;
    }

    /// The spans of a segment come.
    pub(super) fn offer(&mut self, now: u64, spans: impl IntoIterator<Item = Sent>) {
        for span in spans {
            self.span(now, span);
        }
        let most = self.plan.max_traces;
        if self.held.len() > most && !self.plan.blocks_when_full {
            while self.held.len() > most - most / 16 {
                let first = self.held.iter().min_by_key(|(_, t)| (t.deadline, t.place));
                let id = *first.unwrap().0;
                self.decide(now, id, Trigger::Count);
            }
        }
    }

    pub(super) fn poll(&mut self, now: u64) {
        let due = self.held.iter().filter(|(_, trace)| trace.deadline <= now);
        for (id, trigger) in due.map(|(id, t)| (*id, t.trigger)).collect::<Vec<_>>() {
            self.decide(now, id, trigger);
        }
    }

    pub(super) fn drain(&mut self, now: u64) {
        for id in self.held.keys().copied().collect::<Vec<_>>() {
            self.decide(now, id, Trigger::Drain);
        }
    }

    fn span(&mut self, now: u64, span: Sent) {
        let Some(id) = span.id else {
            self.counts.without_trace += 1;
            return self.alone(span);
        };
        let is_large = span.envelope_len > self.plan.payload_bytes;
        if (is_large || !self.held.contains_key(&id))
            && let Some(past) = self.decided.get(&id)
        {
            match *past {
                Past::Kept(threshold, by) => {
                    self.counts.late_kept += 1;
                    let verdict = Verdict { threshold, by: "", perhaps: false };
                    self.keep(&span, &verdict, by, Some(bits(id)), true);
                }
                Past::Dropped => {
                    self.counts.late_sampled_out += 1;
                    self.left_out += 1;
                }
            }
            return;
        }
        if is_large {
            self.counts.below_large += 1;
            return self.alone(span);
        }
        if !self.held.contains_key(&id) {
            self.counts.traces += 1;
            self.places += 1;
            let deadline = now + self.plan.wait;
            let (place, trigger) = (self.places, Trigger::Wait);
            let trace = Held { spans: vec![], came: now, deadline, place, trigger };
            self.held.insert(id, trace);
        }
        let trace = self.held.get_mut(&id).unwrap();
        let is_root = span.is_root;
        trace.spans.push(span);
        let bytes: u64 = trace.spans.iter().map(|span| span.field_len).sum();
        let count = trace.spans.len() as u64;
        if self.plan.max_bytes.is_some_and(|most| bytes > most) {
            self.decide(now, id, Trigger::TooLarge);
        } else if self.plan.max_spans.is_some_and(|most| count >= most) {
            self.decide(now, id, Trigger::Spans);
        } else if let Some(wait) = self.plan.after_root
            && is_root
            && now + wait < trace.deadline
        {
            self.places += 1;
            (trace.deadline, trace.place) = (now + wait, self.places);
            trace.trigger = Trigger::AfterRoot;
        }
    }

    fn alone(&mut self, span: Sent) {
        let chance = span.id.map(bits).or(span.state.randomness);
        match self.verdict(std::slice::from_ref(&span), chance) {
            Some(verdict) => {
                self.keep(&span, &verdict, Some(verdict.by), chance, false);
            }
            None => {
                self.left_out += 1;
                self.counts.spans_sampled_out[Trigger::Wait as usize] += 1;
            }
        }
    }

    fn decide(&mut self, now: u64, id: [u8; 16], trigger: Trigger) {
        let trace = self.held.remove(&id).unwrap();
        self.counts.decisions[trigger as usize] += 1;
        self.counts.waited_millis += now / 1_000_000 - trace.came / 1_000_000;
        let leaves_out =
            trigger == Trigger::TooLarge || (trigger == Trigger::Drain && self.plan.drops_at_end);
        let verdict = self.verdict(&trace.spans, Some(bits(id))).filter(|_| !leaves_out);
        let Some(verdict) = verdict else {
            let spans = trace.spans.len() as u64;
            self.left_out += spans;
            self.counts.spans_sampled_out[trigger as usize] += spans;
            if self.plan.remembered.dropped > 0 {
                self.decided.entry(id).or_insert(Past::Dropped);
            }
            return;
        };
        let given = trace.spans.iter().find_map(|span| span.state.randomness);
        let chance = given.unwrap_or_else(|| bits(id));
        for span in &trace.spans {
            self.keep(span, &verdict, Some(verdict.by), Some(chance), false);
        }
        if self.plan.remembered.kept > 0 {
            self.decided.insert(id, Past::Kept(verdict.threshold, Some(verdict.by)));
        }
    }

    /// What the policies say, `chance` being that of the id.
    fn verdict(&self, spans: &[Sent], chance: Option<u64>) -> Option<Verdict> {
        let given = spans.iter().find_map(|span| span.state.randomness);
        let chance = given.or(chance);
        let start = spans.iter().map(|span| span.start).min().unwrap();
        let end = spans.iter().map(|span| span.end).max().unwrap();
        let count = spans.len() as u64;
        let is_dropped = self
            .plan
            .policies
            .iter()
            .any(|(_, keeps)| matches!(keeps, Keeps::DropsFrom(least) if count >= *least));
        if is_dropped {
            return None;
        }
        // Whether it keeps the trace for sure, and how likely that was.
        let says = |keeps: Keeps| match keeps {
            Keeps::Errors => (spans.iter().any(|span| span.is_error), Some(0)),
            Keeps::Slow(over) => ((end - start) / 1_000_000 > over, Some(0)),
            Keeps::Unlimited => (true, None),
            Keeps::Percent(percent) => {
                let threshold = threshold(percent);
                (chance.is_some_and(|chance| chance >= threshold), Some(threshold))
            }
            Keeps::DropsFrom(_) => (false, None),
        };
        let all = self.plan.policies.iter().map(|(name, keeps)| (*name, *keeps, says(*keeps)));
        let sure: Vec<_> = all.clone().filter(|(_, _, (is_kept, _))| *is_kept).collect();
        let chances = all.filter(|(_, keeps, _)| matches!(keeps, Keeps::Percent(_)));
        let likeliest = chances.min_by_key(|(_, _, (_, threshold))| *threshold);
        match (sure.first(), likeliest) {
            (Some((name, ..)), _) => {
                // A policy before it may have kept it by chance.
                let before = self.plan.policies.iter().take_while(|(other, _)| other != name);
                let is_sure = chance.is_some()
                    || !before.into_iter().any(|(_, keeps)| matches!(keeps, Keeps::Percent(_)));
                let name = if is_sure { *name } else { NOBODY_KNOWS };
                let threshold = sure.iter().filter_map(|(_, _, (_, threshold))| *threshold).min();
                Some(Verdict { threshold, by: name, perhaps: false })
            }
            (None, Some((_, _, (_, threshold)))) if chance.is_none() => {
                Some(Verdict { threshold, by: NOBODY_KNOWS, perhaps: true })
            }
            _ => None,
        }
    }

    fn keep(
        &mut self,
        span: &Sent,
        verdict: &Verdict,
        by: Option<&'static str>,
        chance: Option<u64>,
        is_late: bool,
    ) {
        let state = match self.plan.writes_threshold {
            // One that says nothing says what the others of its trace do.
            true if span.state.text.is_empty() => Some(ot(None, verdict.threshold)),
            true => {
                let chance = span.state.randomness.or(chance);
                chance.map(|chance| span.state.after(verdict.threshold, chance))
            }
            false => Some(span.state.text.clone()),
        };
        let policy = by.filter(|_| self.plan.records_policy);
        let is_late = is_late && self.plan.records_policy;
        let expected = Expected { state, policy, is_late, perhaps: verdict.perhaps };
        assert!(self.expected.insert(span.number, expected).is_none());
    }
}

// === impl State ===

impl State {
    /// Written in another order and with other words than the sampler's own.
    pub(super) fn new(others: &str, randomness: Option<u64>, threshold: Option<u64>) -> Self {
        let mut text = others.to_owned();
        let ot = ot(randomness, threshold);
        if !ot.is_empty() {
            text = if others.is_empty() { ot } else { format!("{others},{ot}") };
        }
        Self { text, threshold, randomness, others: others.to_owned() }
    }

    /// What it says behind the sampler, where chance decides about the span with this.
    fn after(&self, own: Option<u64>, chance: u64) -> String {
        let threshold = match (own, self.threshold) {
            (None, _) => None,
            (Some(own), None) => Some(own),
            // By what it says it would not be here: it says nothing.
            (Some(_), Some(before)) if before > chance => None,
            (Some(own), Some(before)) => Some(own.max(before)),
        };
        let threshold = threshold.filter(|threshold| *threshold <= chance);
        if threshold == self.threshold {
            return self.text.clone();
        }
        let parts = [ot(self.randomness, threshold), self.others.clone()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
    }
}

fn ot(randomness: Option<u64>, threshold: Option<u64>) -> String {
    let rv = randomness.map(|bits| format!("rv:{bits:014x}"));
    let th = threshold.map(|bits| {
        let digits = format!("{bits:014x}");
        let digits = digits.trim_end_matches('0');
        format!("th:{}", if digits.is_empty() { "0" } else { digits })
    });
    let members: Vec<_> = rv.into_iter().chain(th).collect();
    if members.is_empty() { String::new() } else { format!("ot={}", members.join(";")) }
}

/// The last seven bytes.
pub(super) fn bits(id: [u8; 16]) -> u64 {
    id[9..].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// Four digits, for shares whose first digit is significant.
pub(super) fn threshold(percent: f64) -> u64 {
    let unit = RANGE / 65_536.0;
    (((1.0 - percent / 100.0) * RANGE / unit).round() * unit) as u64
}
