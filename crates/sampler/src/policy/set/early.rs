//! Decisions about traces of which more may come.

use std::time::Instant;

use super::{Asked, PolicySet, kept, lower};
use crate::engine::{Verdict, Vote};
use crate::policy::node::Ask;
use crate::{Threshold, Trace};

// === impl PolicySet ===

impl PolicySet {
    /// Decides about a part of a trace, if that settles it: a policy drops it, or one keeps it and
    /// there is none that may still drop it. `is_first` where nothing of the trace came before.
    ///
    /// What is kept by chance at first stands for those that chance did not keep then, whatever keeps
    /// them later; and what is kept later has no threshold, unless no policy goes by chance.
    pub(crate) fn decide_early(
        &mut self,
        now: Instant,
        trace: &Trace<'_>,
        is_first: bool,
    ) -> Option<Verdict> {
        let Self { policies, tests, salt, stats, .. } = self;
        let is_certain = policies.iter().all(|asked| asked.node.is_certain);
        tests.clear();
        let mut ask = Ask { now, trace, tests, had_error: false, part: None };
        let randomness = salt.randomness(trace);
        // Whether a policy may drop what comes.
        let mut is_held_up = false;
        let mut keeps = None;
        let mut rest = policies.iter_mut();
        for asked in &mut rest {
            if is_held_up && !asked.node.drops() {
                return None;
            }
            let (vote, by) = asked.vote(&mut ask, stats);
            let node = &mut asked.node;
            match vote {
                Vote::Dropped => return Some(Verdict { by: Some(by), ..Verdict::LEFT_OUT }),
                Vote::Sampled => {
                    keeps = Some((by, lower(None, node, randomness, &mut ask)));
                    break;
                }
                Vote::Error => {}
                // Inverted votes need those about the whole trace.
                Vote::NotSampled | Vote::InvertSampled | Vote::InvertNotSampled => {
                    is_held_up |= node.drops();
                }
            }
        }
        let (by, mut threshold) = keeps?;
        for Asked { node, .. } in rest.filter(|asked| !asked.node.votes_inverted()) {
            threshold = lower(threshold, node, randomness, &mut ask);
        }
        stats[usize::from(by.rule)].count_kept(&trace.summary);
        let threshold = if is_certain {
            Some(Threshold::ALL)
        } else {
            let may_drop = policies.iter().any(|asked| asked.node.drops());
            threshold.filter(|_| is_first && !may_drop)
        };
        Some(kept(salt, trace, randomness, threshold, by))
    }

    /// Decides about a trace that no part of it has settled. It is left out, unless only what might
    /// have dropped it kept it from being decided: then all of it is looked at.
    pub(crate) fn decide_late(&mut self, now: Instant, trace: &Trace<'_>) -> Verdict {
        let drops = || self.policies.iter().filter(|asked| asked.node.drops());
        if drops().next().is_none() {
            return Verdict::LEFT_OUT;
        }
        let is_certain = drops().all(|asked| asked.node.is_certain);
        let verdict = self.decide(now, trace);
        match is_certain {
            true => verdict,
            // Chance may have dropped others like it by a part of them, with odds of that part.
            false => Verdict { threshold: None, randomness: None, ..verdict },
        }
    }
}
