//! Makes the samplers.

mod rules;

use std::sync::LazyLock;

use teleflow::sampler::head::{
    HashSource, HeadConfig, Never, Priority, Ratio, Source, Undecidable,
};
use teleflow::sampler::{
    self, Composition, ConfigError, Eviction, FingerprintNote, InvalidProbability, Notes, Relief,
    TailSampler, Threshold,
};

use crate::config::{
    self, AdaptiveTailSampling, Config, ConfigErrors, Counts, MatchRule, Mode, Place, Policy,
    ProbabilisticSampler, Processor, RecordFingerprint, Recorded, Rule, Strategy, StressRelief,
    TailSampling,
};

/// The sampler that a processor is, if it is one.
pub(crate) fn sampler(processor: &Processor) -> Option<sampler::Config> {
    match processor {
        Processor::AdaptiveTailSampling(adaptive) => Some(self::adaptive(adaptive)),
        Processor::TailSampling(tail) => Some(self::tail(tail)),
        Processor::Batch(_) | Processor::ProbabilisticSampler(_) => None,
    }
}

/// `probabilistic_sampler`
pub(super) fn probabilistic(
    sampler: &ProbabilisticSampler,
) -> Result<HeadConfig, InvalidProbability> {
    let share = sampler.percentage / 100.0;
    let threshold = match sampler.mode {
        Mode::HashSeed => HashSource::threshold(sampler.percentage),
        _ if share == 0.0 => None,
        _ => Some(Threshold::with_precision(share, sampler.precision)?),
    };
    let config = match threshold {
        Some(threshold) => HeadConfig::new(Ratio::of(threshold)),
        None => HeadConfig::new(Never),
    };
    Ok(HeadConfig {
        composition: match sampler.mode {
            Mode::Proportional => Composition::Proportional,
            Mode::Equalizing | Mode::HashSeed => Composition::Equalizing,
        },
        source: match sampler.mode {
            Mode::HashSeed => Source::Hash(HashSource {
                seed: sampler.hash_seed,
                takes_trace_id: !sampler.by_record,
                attribute: sampler.from_attribute.clone(),
            }),
            Mode::Proportional | Mode::Equalizing => Source::Trace,
        },
        undecidable: match sampler.fail_closed {
            None => Undecidable::Decide,
            Some(false) => Undecidable::Keep,
            Some(true) => Undecidable::Drop,
        },
        priority: Priority {
            of_spans: true,
            of_records: sampler.priority.clone(),
            precision: sampler.precision,
        },
        hash_seed: fastrand::u64(..),
        ..config
    })
}

/// `tail_sampling`
pub(super) fn tail(tail: &TailSampling) -> sampler::Config {
    let cache = &tail.decision_cache;
    sampler::Config {
        rules: rules::of_policies(tail),
        strategy: match tail.strategy {
            Strategy::TraceComplete => sampler::Strategy::TraceComplete,
            Strategy::SpanIngest => sampler::Strategy::SpanIngest,
        },
        decision_wait: tail.decision_wait,
        decision_wait_after_root: tail.decision_wait_after_root,
        max_bytes: bytes(tail.max_bytes),
        max_traces: tail.num_traces.get(),
        max_trace_spans: tail.max_trace_spans,
        max_trace_bytes: tail.max_trace_bytes,
        // Without a cache the Collector remembers a decision as long as it has room for traces.
        remembered: sampler::Remembered {
            kept: tail.num_traces.get().max(cache.sampled_cache_size),
            dropped: tail.num_traces.get().max(cache.non_sampled_cache_size),
        },
        writes_threshold: tail.write_threshold,
        records_policy: tail.record_policy,
        drops_at_end: tail.drop_pending_traces_on_shutdown,
        blocks_when_full: tail.block_on_overflow,
        relief: tail.stress_relief.map(relief),
        hash_seed: *HASH_SEED,
        ..recorded(&tail.recorded)
    }
}

/// `adaptive_tail_sampling`
pub(super) fn adaptive(adaptive: &AdaptiveTailSampling) -> sampler::Config {
    let delay = adaptive.decision_delay;
    sampler::Config {
        rules: rules::of_first_match(adaptive),
        decision_wait: adaptive.trace_timeout.saturating_add(delay),
        decision_wait_after_root: Some(delay),
        max_bytes: bytes(adaptive.max_bytes),
        max_traces: adaptive.num_traces.get(),
        root_condition: adaptive.root_span_condition.clone(),
        max_trace_spans: adaptive.span_limit,
        notes: Notes {
            decision: adaptive.records_decision,
            fingerprint: match adaptive.record_fingerprint {
                RecordFingerprint::None => FingerprintNote::None,
                RecordFingerprint::Value => FingerprintNote::Value,
                RecordFingerprint::Hash => FingerprintNote::Hash,
            },
        },
        eviction: match adaptive.eviction {
            Some(percentage) => Eviction::Ratio(percentage / 100.0),
            None => Eviction::Rules,
        },
        remembered: sampler::Remembered {
            kept: adaptive.decision_cache.sampled_cache_size,
            dropped: adaptive.decision_cache.non_sampled_cache_size,
        },
        relief: adaptive.stress_relief.map(relief),
        hash_seed: *HASH_SEED,
        ..recorded(&adaptive.recorded)
    }
}

/// A sampler that writes this, and is else as it is by itself.
fn recorded(recorded: &Recorded) -> sampler::Config {
    let Recorded { counts, host, dry_run } = recorded;
    sampler::Config {
        counts: match counts {
            Counts::None => sampler::Counts::None,
            Counts::Spans => sampler::Counts::Spans,
            Counts::All => sampler::Counts::All,
        },
        host: host.clone(),
        dry_run: *dry_run,
        ..sampler::Config::default()
    }
}

/// `stress_relief`
fn relief(relief: StressRelief) -> Relief {
    // One of at most 2^32 has a threshold.
    let threshold = Threshold::from_probability(1.0 / relief.sampling_rate as f64);
    let of = |level| if relief.is_always { 0 } else { level };
    Relief {
        threshold: threshold.unwrap_or(Threshold::MOST),
        activation: of(relief.activation_level),
        deactivation: of(relief.deactivation_level),
        at_least: relief.at_least,
    }
}

/// Checks what only the samplers themselves can: regular expressions, conditions, numbers. Those
/// that do not run are checked too. `file` names the file in messages.
pub(crate) fn check(file: &str, config: &Config) -> Result<(), ConfigErrors> {
    let mut found = Vec::new();
    for (id, processor) in &config.processors {
        let Some(config) = sampler(processor) else { continue };
        found.extend(super::sharing::check(id, processor));
        // Nothing is to be remembered by what is thrown away.
        let remembered = sampler::Remembered { kept: 0, dropped: 0 };
        if let Err(error) = TailSampler::new(sampler::Config { remembered, ..config }) {
            found.push(tell(id, processor, &error));
        }
    }
    ConfigErrors::found(file, found).map_or(Ok(()), Err)
}

/// What is wrong, and where that is written.
fn tell(id: &config::Id, processor: &Processor, error: &ConfigError) -> (Place, String) {
    let of_processor = match processor {
        Processor::AdaptiveTailSampling(adaptive) => adaptive.place,
        Processor::TailSampling(tail) => tail.place,
        Processor::Batch(_) | Processor::ProbabilisticSampler(_) => Place::default(),
    };
    let ConfigError::Rule { rule, problem } = error else {
        return (of_processor, format!("processors.{id}: {error}"));
    };
    let (what, place) = match processor {
        Processor::TailSampling(tail) => ("policy", find(&tail.policies, rule)),
        Processor::AdaptiveTailSampling(adaptive) => ("rule", find(&adaptive.rules, rule)),
        Processor::Batch(_) | Processor::ProbabilisticSampler(_) => ("rule", None),
    };
    let place = place.unwrap_or(of_processor);
    (place, format!("processors.{id}: the {what} `{rule}` does not work: {problem}"))
}

/// What has a name that a library may complain of: `outer/inner`.
trait Named: Sized {
    fn name(&self) -> &str;
    fn place(&self) -> Place;
    fn parts(&self) -> Vec<&Self>;
}

/// Where the one that a path names is written. Names may have slashes in them.
fn find<'a, T: Named + 'a>(among: impl IntoIterator<Item = &'a T>, path: &str) -> Option<Place> {
    let mut outer = None;
    for one in among {
        let Some(rest) = path.strip_prefix(one.name()) else { continue };
        if rest.is_empty() {
            return Some(one.place());
        }
        if let Some(rest) = rest.strip_prefix('/') {
            let inner = find(one.parts(), rest);
            if inner.is_some() {
                return inner;
            }
            outer = Some(one.place());
        }
    }
    outer
}

impl Named for Policy {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> Place {
        self.place
    }

    fn parts(&self) -> Vec<&Self> {
        match &self.rule {
            Rule::And(parts) | Rule::Drop(parts) => parts.iter().collect(),
            Rule::Composite(composite) => composite.parts.iter().map(|part| &part.policy).collect(),
            Rule::Not(part) => vec![part],
            _ => Vec::new(),
        }
    }
}

impl Named for MatchRule {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self) -> Place {
        self.place
    }

    fn parts(&self) -> Vec<&Self> {
        Vec::new()
    }
}

/// One for all samplers and for as long as the process runs: a sampler that is configured anew finds
/// its traces again.
static HASH_SEED: LazyLock<u64> = LazyLock::new(|| fastrand::u64(..));

fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
