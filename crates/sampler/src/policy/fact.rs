//! What is so or not so of a trace, whatever chance says and whatever came before it.

use crate::StatusSet;
use crate::engine::Vote;
use crate::policy::Policy;
use crate::policy::conditions::Search;
use crate::policy::node::{Ask, Building};
use crate::policy::value::ValueTest;
use crate::tail::ConfigError;

/// What is so or not so of a trace.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    Always,
    Status(StatusSet),
    /// In milliseconds: more than the first, no more than the second.
    Latency(u64, u64),
    Spans(u64, u64),
    Flags,
    Found(Looked),
    /// The number of a search.
    Search(usize),
}

/// Something that was looked for in the spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    pub(crate) number: usize,
    pub(crate) is_inverted: bool,
    /// Whether it votes with the votes of inverted policies.
    pub(crate) votes_inverted: bool,
}

// === impl Fact ===

impl Fact {
    /// `None` for policies of chance, with a state, or made of others.
    pub(crate) fn new(
        policy: &Policy,
        path: &str,
        building: &mut Building,
    ) -> Result<Option<Self>, ConfigError> {
        Ok(Some(match policy {
            Policy::Always => Self::Always,
            Policy::Status(statuses) => Self::Status(*statuses),
            Policy::Latency { over, up_to } => {
                let millis = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
                let up_to = up_to.map_or(u64::MAX, |up_to| millis(up_to.as_millis()));
                Self::Latency(millis(over.as_millis()), up_to)
            }
            Policy::SpanCount { min, max } => Self::Spans(*min, max.unwrap_or(u64::MAX)),
            Policy::TraceFlags => Self::Flags,
            Policy::TraceState { key, values } => {
                let number = building.tests.add_state(key, values);
                Self::Found(Looked { number, is_inverted: false, votes_inverted: false })
            }
            Policy::Conditions(conditions) => {
                Self::Search(building.tests.add_search(Search::new(conditions, path)?))
            }
            _ => {
                let Some((key, test, is_inverted)) = ValueTest::new(policy, path)? else {
                    return Ok(None);
                };
                let number = building.tests.add_attribute(key, test);
                let votes_inverted = is_inverted && building.inverted_votes;
                Self::Found(Looked { number, is_inverted, votes_inverted })
            }
        }))
    }

    pub(crate) fn vote(&self, ask: &mut Ask<'_, '_>) -> Vote {
        let summary = &ask.trace.summary;
        let keeps = match self {
            Self::Always => true,
            Self::Status(statuses) => statuses.intersects(summary.statuses),
            Self::Latency(over, up_to) => {
                let millis = summary.millis();
                *over < millis && millis <= *up_to
            }
            Self::Spans(min, max) => (min..=max).contains(&&summary.spans),
            Self::Flags => summary.is_flagged,
            Self::Found(looked) => {
                let is_true = ask.tests.is_true(looked.number, ask.trace);
                return match (is_true != looked.is_inverted, looked.votes_inverted) {
                    (true, false) => Vote::Sampled,
                    (false, false) => Vote::NotSampled,
                    (true, true) => Vote::InvertSampled,
                    (false, true) => Vote::InvertNotSampled,
                };
            }
            Self::Search(number) => {
                let found = ask.tests.found(*number, ask.trace);
                ask.had_error |= found.had_error;
                match found.is_true {
                    Some(is_true) => is_true,
                    None => return Vote::Error,
                }
            }
        };
        if keeps { Vote::Sampled } else { Vote::NotSampled }
    }
}
