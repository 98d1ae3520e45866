//! Decisions that several samplers make together, where the spans of a trace come to more than one.
//!
//! A sampler votes about its own part of a trace when that has waited long enough. What is common to
//! all samplers is one place for each trace, somewhere else: a proposal is written there if nothing
//! is, and whoever proposes is [told](TailSampler::learn) what is there then. So all read the same.
//!
//! 1. What is certain to be kept is proposed as [kept](Shared::Kept) at once; what a policy drops, as
//!    [dropped](Shared::Dropped).
//! 2. Who would keep it by chance says so at once, and waits [`Sharing::grace`]: others may know
//!    better. Of several the lowest threshold counts, as of several policies.
//! 3. Who would leave it out says nothing and waits as long. Then it is proposed as dropped; where
//!    another one votes to keep it, it is kept.
//! 4. A decision that is written stays, with its threshold, for all that come later.
//!
//! So samplers always agree whose proposals are answered; and within `grace` they decide as one would
//! that has all the spans, but for this: a policy that drops and one that certainly keeps are not
//! weighed, the first of them decides. Who gets no answer within [`Sharing::patience`] decides alone,
//! and so does who has to decide early, for want of room: both tell the others.

use std::time::{Duration, Instant};

use self::votes::Vote;
pub(super) use self::votes::Votes;
use super::{Output, Strategy, TailSampler, Trigger, nanos};
use crate::engine::{By, Verdict};
use crate::memory::Past;
use crate::rules::Rules;
use crate::{Threshold, Trace};

mod votes;

/// How a sampler makes decisions with others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sharing {
    /// How long a trace that has waited long enough waits for the votes of others, unless it is
    /// certain what becomes of it. Zero: the first who decides decides for all, and reasons that only
    /// others know do not count.
    ///
    /// As much as the times are apart at which samplers get their first spans of a trace: SDKs send
    /// every 5 s.
    pub grace: Duration,
    /// How long to wait for the answer to a proposal before deciding alone.
    pub patience: Duration,
}

/// What samplers tell each other about a trace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Shared {
    /// A sampler votes to keep it. While others may still vote, a lower threshold takes its place.
    Voted(Reason),
    /// It is kept.
    Kept(Reason),
    /// It is left out.
    Dropped,
}

/// Why a trace is kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reason {
    /// How likely that was, where it is known.
    pub threshold: Option<Threshold>,
    /// The policy or rule that keeps it, where that is known.
    pub policy: Option<String>,
    /// The part of a composite policy.
    pub part: Option<String>,
}

/// What is to be written in the common place of a trace, and the answer told by
/// [`TailSampler::learn`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proposal {
    /// The trace.
    pub id: [u8; 16],
    /// What is written.
    pub shared: Shared,
    /// Whether it takes the place of what is there; else it is written only where nothing is.
    pub replaces: bool,
}

/// What stands in the common place of a trace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The trace.
    pub id: [u8; 16],
    /// What is there; `None` where nobody answered.
    pub shared: Option<Shared>,
}

/// What came of decisions with others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SharingStats {
    /// Traces that wait for others now.
    pub waiting: u64,
    /// Traces about which others were asked.
    pub asked: u64,
    /// Of those, traces that are kept though the own vote was to leave them out.
    pub kept_by_others: u64,
    /// Of those, traces that are left out though the own vote was to keep them.
    pub dropped_by_others: u64,
    /// Of those, traces that were decided alone, for no answer came.
    pub alone: u64,
    /// Traces that others were not told of, for there were too many at a time.
    pub untold: u64,
}

/// The most proposals in an [`Output`]: with more, traces are decided alone.
pub(super) const MOST_PROPOSALS: usize = 16 * 1024;

// === impl Sharing ===

impl Default for Sharing {
    /// 5 s of grace, and 1 s of patience.
    fn default() -> Self {
        Self { grace: Duration::from_secs(5), patience: Duration::from_secs(1) }
    }
}

// === impl SharingStats ===

impl SharingStats {
    pub(crate) const fn add(&mut self, other: &Self) {
        let Self { waiting, asked, kept_by_others, dropped_by_others, alone, untold } = other;
        self.waiting += *waiting;
        self.asked += *asked;
        self.kept_by_others += *kept_by_others;
        self.dropped_by_others += *dropped_by_others;
        self.alone += *alone;
        self.untold += *untold;
    }
}

// === impl Reason ===

impl Reason {
    /// Whether it counts in place of another: its threshold is lower. An unknown one counts where
    /// there is no other, as among policies.
    fn is_better(&self, than: &Self) -> bool {
        rank(self.threshold) < rank(than.threshold)
    }

    fn of(verdict: &Verdict, rules: &Rules) -> Self {
        let told = verdict.by.and_then(|by| rules.told(by));
        Self {
            threshold: verdict.threshold,
            policy: told.map(|(policy, _)| policy.to_owned()),
            part: told.and_then(|(_, part)| part).map(str::to_owned),
        }
    }
}

// === impl TailSampler ===

impl TailSampler {
    /// Takes the answers to [proposals](Proposal).
    ///
    /// A trace that is held is decided by that, unless others may still vote; who gets no answer
    /// decides alone. Otherwise it is remembered for late spans. Where this sampler and others have
    /// decided otherwise, "kept" counts for the spans to come; what was left out before stays out.
    ///
    /// # Examples
    ///
    /// A map in place of a server; it is asked at once, and nobody else votes:
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use std::time::{Duration, Instant};
    /// use teleflow_otlp::{Payload, Signal};
    /// use teleflow_sampler::{Answer, Config, Output, Proposal, Shared, Sharing, TailSampler};
    ///
    /// // No policy: alone it keeps nothing.
    /// let sharing = Some(Sharing { grace: Duration::ZERO, ..Sharing::default() });
    /// let mut sampler = TailSampler::new(Config { sharing, ..Config::default() })?;
    /// let mut places = HashMap::from([(*b"abcdefghijklmnop", Shared::Kept(Default::default()))]);
    /// let (now, mut out) = (Instant::now(), Output::default());
    /// // ResourceSpans { ScopeSpans { Span { trace_id } } }
    /// let request = b"\x0a\x16\x12\x14\x12\x12\x0a\x10abcdefghijklmnop";
    /// sampler.offer(now, Payload::parse(Signal::Traces, request.as_slice().into())?, &mut out);
    ///
    /// let due = now + Duration::from_secs(30);
    /// sampler.poll(due, &mut out);
    /// let proposals: Vec<Proposal> = out.proposals.drain(..).collect();
    /// let answers = proposals.into_iter().map(|Proposal { id, shared, .. }| {
    ///     Answer { id, shared: Some(places.entry(id).or_insert(shared).clone()) }
    /// });
    /// sampler.learn(due, answers, &mut out);
    /// assert_eq!(out.kept.len(), 1, "another one had kept it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn learn(
        &mut self,
        now: Instant,
        answers: impl IntoIterator<Item = Answer>,
        out: &mut Output,
    ) {
        for Answer { id, shared } in answers {
            self.learn_one(now, &id, shared.as_ref(), out);
            self.write_if_worth(out);
        }
        self.write_kept(out);
    }

    fn learn_one(
        &mut self,
        now: Instant,
        id: &[u8; 16],
        shared: Option<&Shared>,
        out: &mut Output,
    ) {
        let hash = self.keyed.id(id);
        let held = self.table.find(id, hash);
        match (held, self.votes.find(id, hash), shared) {
            (Some(trace), Some(vote), Some(shared)) => {
                self.hear(now, trace, vote, shared, out);
            }
            (Some(trace), Some(vote), None) => self.decide_by_own(now, trace, &vote, false, out),
            // Nobody has asked, and still it is known.
            (Some(trace), None, Some(Shared::Kept(reason))) => {
                let verdict = self.kept_for(reason, id);
                self.decide_so(now, trace, (*id, hash), verdict, Trigger::Learned, out);
            }
            (Some(trace), None, Some(Shared::Dropped)) => {
                let verdict = Verdict::LEFT_OUT;
                self.decide_so(now, trace, (*id, hash), verdict, Trigger::Learned, out);
            }
            (None, _, Some(shared)) => self.remember_shared(hash, shared),
            (Some(_), None, Some(Shared::Voted(_)) | None) | (None, _, None) => {}
        }
    }

    /// The time of a trace has come: others are asked, or have been.
    pub(super) fn agree(
        &mut self,
        now: Instant,
        sharing: Sharing,
        trace: u32,
        trigger: Trigger,
        out: &mut Output,
    ) {
        let taken = self.table.look_at(trace);
        match self.votes.find(&taken.id, taken.hash) {
            None => {
                let spans = self.table.spans_of(taken.first);
                let asked = Trace { id: taken.id, summary: taken.summary, spans: &spans };
                let verdict = match self.config.strategy {
                    Strategy::TraceComplete => self.engine.decide(now, &asked),
                    Strategy::SpanIngest => self.engine.decide_late(now, &asked),
                };
                let (id, hash) = (taken.id, taken.hash);
                // Where waits share a list it may be that of those that wait for others.
                let trigger = if trigger == Trigger::Learned { Trigger::Wait } else { trigger };
                let vote = Vote { id, hash, verdict, trigger, is_proposed: false };
                self.votes.stats.asked += 1;
                self.vote(now, sharing, trace, vote, out);
            }
            Some(vote) if vote.is_proposed => self.decide_by_own(now, trace, &vote, true, out),
            Some(vote) => self.propose(now, sharing, trace, vote, out),
        }
    }

    /// Tells the others what was decided early.
    #[inline]
    pub(super) fn tell(
        &mut self,
        id: [u8; 16],
        trigger: Trigger,
        verdict: &Verdict,
        out: &mut Output,
    ) {
        let is_early = match trigger {
            Trigger::Spans | Trigger::TooLarge => true,
            Trigger::Bytes | Trigger::Count | Trigger::Ingest => true,
            // What is only left out for the end says nothing about the trace.
            Trigger::Drain => !self.config.drops_at_end,
            // Others are asked first.
            Trigger::Wait | Trigger::AfterRoot | Trigger::Relief | Trigger::Learned => false,
        };
        if self.config.sharing.is_some() && is_early {
            self.announce(id, verdict, out);
        }
    }

    /// Tells the others what was decided without them: what is kept takes the place of what is there.
    fn announce(&mut self, id: [u8; 16], verdict: &Verdict, out: &mut Output) {
        let (shared, replaces) = match verdict.is_kept {
            true => (Shared::Kept(Reason::of(verdict, &self.config.rules)), true),
            false => (Shared::Dropped, false),
        };
        if !push(out, Proposal { id, shared, replaces }) {
            self.votes.stats.untold += 1;
        }
    }

    /// A sampler has just voted.
    fn vote(&mut self, now: Instant, sharing: Sharing, trace: u32, vote: Vote, out: &mut Output) {
        let Verdict { is_kept, threshold, by, .. } = vote.verdict;
        let is_certain = match is_kept {
            true => threshold == Some(Threshold::ALL),
            // Of rules the one that decided is told, too; only a policy drops.
            false => by.is_some() && matches!(self.config.rules, Rules::Policies(_)),
        };
        if is_certain || sharing.grace.is_zero() {
            return self.propose(now, sharing, trace, vote, out);
        }
        if is_kept {
            let shared = Shared::Voted(Reason::of(&vote.verdict, &self.config.rules));
            if !push(out, Proposal { id: vote.id, shared, replaces: false }) {
                self.votes.stats.untold += 1;
                self.votes.put(vote);
                return self.decide(now, trace, vote.trigger, out);
            }
        }
        self.votes.put(vote);
        let time = self.time(now);
        self.table.postpone(trace, time, nanos(sharing.grace));
    }

    /// Proposes what is to become of a trace.
    fn propose(
        &mut self,
        now: Instant,
        sharing: Sharing,
        trace: u32,
        vote: Vote,
        out: &mut Output,
    ) {
        let shared = match vote.verdict.is_kept {
            true => Shared::Kept(Reason::of(&vote.verdict, &self.config.rules)),
            false => Shared::Dropped,
        };
        self.votes.put(Vote { is_proposed: true, ..vote });
        if !push(out, Proposal { id: vote.id, shared, replaces: false }) {
            self.votes.stats.untold += 1;
            return self.decide(now, trace, vote.trigger, out);
        }
        let time = self.time(now);
        self.table.postpone(trace, time, nanos(sharing.patience));
    }

    /// Takes what is in the common place of a trace whose spans wait for that.
    fn hear(&mut self, now: Instant, trace: u32, vote: Vote, shared: &Shared, out: &mut Output) {
        let own = vote.verdict.is_kept.then(|| Reason::of(&vote.verdict, &self.config.rules));
        let reason = match shared {
            Shared::Dropped => return self.follow(now, trace, &vote, Verdict::LEFT_OUT, out),
            Shared::Kept(reason) => {
                let verdict = self.kept_for(reason, &vote.id);
                return self.follow(now, trace, &vote, verdict, out);
            }
            Shared::Voted(reason) => reason,
        };
        let is_own_better = own.as_ref().is_some_and(|own| own.is_better(reason));
        let best = own.filter(|_| is_own_better).unwrap_or_else(|| reason.clone());
        let verdict = if is_own_better { vote.verdict } else { self.kept_for(reason, &vote.id) };
        if vote.is_proposed {
            // Votes are over here. Who votes later is to find a decision.
            let proposal = Proposal { id: vote.id, shared: Shared::Kept(best), replaces: true };
            self.votes.stats.untold += u64::from(!push(out, proposal));
            return self.follow(now, trace, &vote, verdict, out);
        }
        if is_own_better {
            let proposal = Proposal { id: vote.id, shared: Shared::Voted(best), replaces: true };
            self.votes.stats.untold += u64::from(!push(out, proposal));
        } else {
            self.votes.put(Vote { verdict, ..vote });
        }
    }

    /// Decides about a trace as all do.
    fn follow(
        &mut self,
        now: Instant,
        trace: u32,
        vote: &Vote,
        verdict: Verdict,
        out: &mut Output,
    ) {
        let trigger = match (vote.verdict.is_kept, verdict.is_kept) {
            (false, true) => {
                self.votes.stats.kept_by_others += 1;
                Trigger::Learned
            }
            (true, false) => {
                self.votes.stats.dropped_by_others += 1;
                Trigger::Learned
            }
            (true, true) | (false, false) => vote.trigger,
        };
        self.decide_so(now, trace, (vote.id, vote.hash), verdict, trigger, out);
    }

    /// Nobody answers.
    fn decide_by_own(
        &mut self,
        now: Instant,
        trace: u32,
        vote: &Vote,
        tells: bool,
        out: &mut Output,
    ) {
        self.votes.stats.alone += 1;
        // That it is left out has been proposed already.
        if tells && vote.verdict.is_kept {
            self.announce(vote.id, &vote.verdict, out);
        }
        self.decide(now, trace, vote.trigger, out);
    }

    fn decide_so(
        &mut self,
        now: Instant,
        trace: u32,
        (id, hash): ([u8; 16], u64),
        verdict: Verdict,
        trigger: Trigger,
        out: &mut Output,
    ) {
        self.votes.put(Vote { id, hash, verdict, trigger, is_proposed: true });
        self.decide(now, trace, trigger, out);
    }

    /// The verdict of others.
    fn kept_for(&self, reason: &Reason, id: &[u8; 16]) -> Verdict {
        let by = self.by(reason);
        let randomness = match reason.threshold {
            Some(Threshold::ALL) | None => None,
            // These are decided by the trace's own randomness, whatever policies do.
            Some(_) if by == Some(By::EVICTION) => None,
            Some(_) => self.engine.salted(id),
        };
        Verdict { is_kept: true, threshold: reason.threshold, randomness, by }
    }

    fn by(&self, reason: &Reason) -> Option<By> {
        self.config.rules.place_of(reason.policy.as_deref()?, reason.part.as_deref())
    }

    /// Of a trace that is not held.
    fn remember_shared(&mut self, hash: u64, shared: &Shared) {
        match (self.memory.find(hash), shared) {
            (None | Some(Past::Dropped), Shared::Kept(reason)) => {
                let by = self.by(reason);
                self.memory.remember_kept(hash, reason.threshold, by);
            }
            (None, Shared::Dropped) => self.memory.remember_dropped(hash),
            (Some(_), _) | (None, Shared::Voted(_)) => {}
        }
    }
}

/// Lower is better.
fn rank(threshold: Option<Threshold>) -> u64 {
    threshold.map_or(u64::MAX, Threshold::bits)
}

/// Whether there was room.
fn push(out: &mut Output, proposal: Proposal) -> bool {
    let has_room = out.proposals.len() < MOST_PROPOSALS;
    if has_room {
        out.proposals.push(proposal);
    }
    has_room
}
