//! The sampler of a rule at work.

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::fingerprint::{Fingerprint, Scratch};
use super::{Algorithm, DynamicSampler, Keys, SamplerStats, Unit};
use crate::engine::{By, Verdict};
use crate::keyed::{self, Forecast, Goal, Keyed, Standing, Weigh};
use crate::policy::limit::Bucket;
use crate::{Threshold, Trace};

#[derive(Debug)]
pub(super) struct Sampler {
    config: DynamicSampler,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// The same for all; `None` where nothing is kept.
    Fixed(Option<Threshold>),
    Learns(Box<Learner>),
    Limit(Bucket),
}

/// What is kept of a key follows from what came.
#[derive(Debug)]
struct Learner {
    fingerprint: Fingerprint,
    scratch: Scratch,
    /// Has a secret of its own: senders cannot choose keys that meet.
    hasher: RandomState,
    unit: Unit,
    keyed: Keyed,
}

/// What a sampler says of a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) is_kept: bool,
    /// How likely it was to be kept, where that is known and not never.
    pub(super) threshold: Option<Threshold>,
}

/// More a second than any machine moves; beyond it numbers lose their units.
const MOST: f64 = 1e15;

const DAY: Duration = Duration::from_secs(86_400);

/// The most keys that are told apart: they are looked at when an interval ends.
const MAX_KEYS: usize = 100_000;

/// The most updates that a window may reach back.
const MAX_LOOKBACK: u128 = 300;

// === impl Sampler ===

impl Sampler {
    /// Reads a configuration; says what is wrong with it.
    pub(super) fn new(config: &DynamicSampler) -> Result<Self, String> {
        let work = match config {
            DynamicSampler::Always => Work::Fixed(Some(Threshold::ALL)),
            DynamicSampler::Never => Work::Fixed(None),
            DynamicSampler::Ratio(ratio) if (0.0..=1.0).contains(ratio) => {
                Work::Fixed(Threshold::from_probability(*ratio).ok())
            }
            DynamicSampler::Ratio(ratio) => {
                return Err(format!("the share is {ratio}: it has to be within 0 and 1"));
            }
            DynamicSampler::AdaptivePercentage { goal, unit, keys, interval, weight } => {
                let goal = within("the goal", *goal, 1.0)?;
                let config = keyed::Config {
                    goal: Goal::Share(goal),
                    weigh: Weigh::Logarithm(1.0),
                    forecast: average(*weight)?,
                    window: duration("the interval", *interval)?,
                    max_keys: max_keys(keys)?,
                    initial: goal,
                };
                Work::learns(keys, *unit, config)?
            }
            DynamicSampler::AdaptiveThroughput { goal, unit, keys, initial, algorithm } => {
                let (window, forecast, windows) = match *algorithm {
                    Algorithm::Ema { interval, weight } => {
                        (duration("the interval", interval)?, average(weight)?, 1)
                    }
                    Algorithm::Windowed { update, lookback } => {
                        let update = duration("the update", update)?;
                        let count = lookback.as_nanos() / update.as_nanos();
                        if !(1..=MAX_LOOKBACK).contains(&count) {
                            return Err(format!(
                                "the lookback of {lookback:?} is {count} updates of {update:?}: it \
                                 has to be within 1 and {MAX_LOOKBACK}"
                            ));
                        }
                        (update, Forecast::Mean(count as u16), count as u16)
                    }
                };
                let config = keyed::Config {
                    goal: Goal::Total(within("the goal", *goal, MOST)?),
                    weigh: Weigh::Logarithm(f64::from(windows)),
                    forecast,
                    window,
                    max_keys: max_keys(keys)?,
                    initial: within("the initial share", *initial, 1.0)?,
                };
                Work::learns(keys, *unit, config)?
            }
            DynamicSampler::PerKeyThroughput { goal, unit, keys, interval } => {
                let config = keyed::Config {
                    goal: Goal::PerKey(within("the goal", *goal, MOST)?),
                    weigh: Weigh::Equal,
                    forecast: Forecast::Rising,
                    window: duration("the interval", *interval)?,
                    max_keys: max_keys(keys)?,
                    initial: 1.0,
                };
                Work::learns(keys, *unit, config)?
            }
            DynamicSampler::RateLimit { spans_per_second, burst } => {
                if *spans_per_second == 0 || *burst == 0 {
                    return Err("a rate limit of no spans a second, or a burst of none, keeps \
                                nothing: that is what never to sample is for"
                        .into());
                }
                Work::Limit(Bucket::new(*spans_per_second, *burst))
            }
        };
        Ok(Self { config: config.clone(), work })
    }

    /// Whether another one was told the same, and so may go on where it was.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.config == other.config
    }

    /// Decides, and learns.
    pub(super) fn decide(&mut self, now: Instant, trace: &Trace<'_>) -> Answer {
        match &mut self.work {
            Work::Fixed(threshold) => Answer::by(*threshold, trace),
            Work::Learns(learner) => {
                let Learner { fingerprint, scratch, hasher, unit, keyed } = &mut **learner;
                let key = hasher.hash_one(fingerprint.of(trace, scratch).0);
                let weight = unit.weight(trace);
                let answer = Answer::by(threshold(keyed.ask(now, key, weight)), trace);
                if answer.is_kept {
                    keyed.count_kept(key, weight);
                }
                answer
            }
            Work::Limit(bucket) => {
                Answer { is_kept: bucket.take(now, trace.summary.spans), threshold: None }
            }
        }
    }

    /// Reads the key of a trace, and learns nothing of it.
    pub(super) fn read_key(&mut self, trace: &Trace<'_>) {
        if let Work::Learns(learner) = &mut self.work {
            let Learner { fingerprint, scratch, .. } = &mut **learner;
            fingerprint.of(trace, scratch);
        }
    }

    /// The key of the trace that it read last, if keys are of attributes.
    pub(super) fn fingerprint(&self) -> Option<&str> {
        let Work::Learns(learner) = &self.work else { return None };
        Some(learner.scratch.key()).filter(|key| !key.is_empty())
    }

    /// What it would decide, as of the last time that it did, and why; it learns nothing of it.
    pub(super) fn explain(&self, now: Instant, trace: &Trace<'_>) -> (Answer, String) {
        let of_chance = |probability: f64, threshold: Option<Threshold>| {
            let randomness = trace.randomness();
            let answer = Answer::by(threshold, trace);
            let side = if answer.is_kept { "is at or above it" } else { "is below it" };
            let threshold = threshold.map_or_else(|| "none".into(), |th| th.to_string());
            let why = format!(
                "kept with probability {probability}: threshold {threshold}, and the trace's \
                 randomness {randomness} {side}"
            );
            (answer, why)
        };
        match &self.work {
            Work::Fixed(Some(Threshold::ALL)) => (Answer::ALL, "all are kept".into()),
            Work::Fixed(None) => (Answer::NONE, "none is kept".into()),
            Work::Fixed(Some(threshold)) => of_chance(threshold.probability(), Some(*threshold)),
            Work::Learns(learner) => {
                let Learner { fingerprint, hasher, unit, keyed, .. } = &**learner;
                let mut scratch = Scratch::default();
                let (key, is_cut) = fingerprint.of(trace, &mut scratch);
                let odds = keyed.peek(hasher.hash_one(key), unit.weight(trace));
                let cut = if is_cut { ", cut to 16 values and 256 bytes an attribute" } else { "" };
                let standing = match odds.standing {
                    Standing::Known => "known",
                    Standing::New => "new",
                    Standing::Beyond => "beyond the keys that are told apart",
                };
                let first = if odds.is_first { ", the first of it in this interval" } else { "" };
                let (answer, why) = of_chance(odds.probability, threshold(odds.probability));
                (answer, format!("key `{key}`{cut} ({standing}{first}); {why}"))
            }
            Work::Limit(bucket) => {
                let spans = trace.summary.spans;
                let is_kept = bucket.clone().take(now, spans);
                let left = if is_kept { "within" } else { "over" };
                let why = format!("its {spans} spans are {left} what is left of the rate limit");
                (Answer { is_kept, threshold: None }, why)
            }
        }
    }

    pub(super) fn stats(&self) -> SamplerStats {
        let Work::Learns(learner) = &self.work else { return SamplerStats::default() };
        let keyed::Stats { others, keys, windows, last_seen, last_kept, .. } =
            learner.keyed.stats();
        SamplerStats { keys, beyond: others, intervals: windows, last_seen, last_kept }
    }
}

// === impl Work ===

impl Work {
    fn learns(keys: &Keys, unit: Unit, config: keyed::Config) -> Result<Self, String> {
        Ok(Self::Learns(Box::new(Learner {
            fingerprint: Fingerprint::new(keys)?,
            scratch: Scratch::default(),
            hasher: RandomState::default(),
            unit,
            keyed: Keyed::new(config),
        })))
    }
}

// === impl Unit ===

impl Unit {
    /// What a trace counts for: never nothing.
    fn weight(self, trace: &Trace<'_>) -> f64 {
        match self {
            Self::Traces => 1.0,
            Self::Spans => trace.summary.spans.max(1) as f64,
        }
    }
}

// === impl Answer ===

impl Answer {
    const ALL: Self = Self { is_kept: true, threshold: Some(Threshold::ALL) };
    const NONE: Self = Self { is_kept: false, threshold: None };

    fn by(threshold: Option<Threshold>, trace: &Trace<'_>) -> Self {
        let is_kept = threshold.is_some_and(|threshold| threshold.keeps(trace.randomness()));
        Self { is_kept, threshold }
    }

    /// As what becomes of a trace that this rule decides about.
    pub(super) const fn verdict(self, rule: usize) -> Verdict {
        let by = Some(By { rule: rule as u16, part: None });
        let Self { is_kept, threshold } = self;
        Verdict { is_kept, threshold, by, ..Verdict::LEFT_OUT }
    }
}

/// The threshold of a probability above 0; below all thresholds the highest is the nearest.
fn threshold(probability: f64) -> Option<Threshold> {
    Some(Threshold::from_probability(probability).unwrap_or(Threshold::MOST))
}

fn within(name: &str, value: f64, most: f64) -> Result<f64, String> {
    if value > 0.0 && value <= most {
        return Ok(value);
    }
    Err(format!("{name} is {value}: it has to be above 0 and at most {most}"))
}

fn average(weight: f64) -> Result<Forecast, String> {
    Ok(Forecast::Average(within("the weight", weight, 1.0)?))
}

fn duration(name: &str, duration: Duration) -> Result<Duration, String> {
    if duration.is_zero() || duration > DAY {
        return Err(format!("{name} is {duration:?}: it has to be above 0 and at most a day"));
    }
    Ok(duration)
}

fn max_keys(keys: &Keys) -> Result<usize, String> {
    if (1..=MAX_KEYS).contains(&keys.max_keys) {
        return Ok(keys.max_keys);
    }
    let max_keys = keys.max_keys;
    Err(format!("the number of keys is {max_keys}: it has to be within 1 and {MAX_KEYS}"))
}
