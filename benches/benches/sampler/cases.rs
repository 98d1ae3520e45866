//! What a span costs our sampler, on one core.

use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_benches::alloc;
use teleflow_benches::process::thread_cpu_time;
use teleflow_otlp::{Payload, Signal};
use teleflow_sampler::{Config, Digest, Output, Policy, Rule, TailSampler};

use crate::batches::{Batches, Fate, Ids, SPANS, TraceId, validated};

/// Batches that are made before the clock runs: as many as the caches of a core hold, as if they
/// had just come.
pub(crate) const AT_ONCE: usize = 256;

/// How often what takes a moment is measured; the median counts.
const ROUNDS: usize = 5;

/// Traces that are appended to and come late.
const TRACES: usize = 8192;

/// How long a trace waits, in the time that the sampler is told.
pub(crate) const WAIT: Duration = Duration::from_secs(1);

/// How many traces are held in `mixed`: as many as the Go side has, which waits a second of the
/// wall's time.
pub(crate) const HELD: u32 = 50_000;

/// What is done with a batch as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It is validated already, as in the gateway.
    Validated,
    /// It has to be validated.
    Raw,
}

/// Nanoseconds a span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    pub(crate) new_traces: f64,
    pub(crate) append: f64,
    pub(crate) late_kept: f64,
    pub(crate) late_drop: f64,
}

/// What is held for a span.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    /// What the allocator gave for it.
    pub(crate) allocated: f64,
    /// What the sampler counts.
    pub(crate) counted: f64,
}

/// A sampler and the clock that it is told.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) sampler: TailSampler,
    pub(crate) out: Output,
    pub(crate) now: Instant,
    /// How much later each batch comes.
    pub(crate) step: Duration,
}

/// Errors, more than a second, and a tenth of the rest.
pub(crate) fn config() -> Config {
    Config {
        decision_wait: WAIT,
        rules: vec![
            Rule::new("errors", Policy::errors()),
            Rule::new("slow", Policy::slower_than(Duration::from_secs(1))),
            Rule::new("share", Policy::percent(10.0, "")),
        ]
        .into(),
        max_bytes: 8 << 30,
        max_traces: 2_000_000,
        ..Config::default()
    }
}

// === impl Bench ===

impl Bench {
    /// Batches come all at the same moment.
    pub(crate) fn new() -> Self {
        let sampler = TailSampler::new(config()).expect("it makes sense");
        Self { sampler, out: Output::default(), now: Instant::now(), step: Duration::ZERO }
    }

    /// So many batches come while one waits.
    pub(crate) fn holding(batches: u32) -> Self {
        Self { step: WAIT / batches, ..Self::new() }
    }

    /// Does with a batch what the gateway does: polls where it is time to, and offers.
    #[inline]
    pub(crate) fn take(&mut self, payload: Payload) {
        self.tick(1);
        self.sampler.offer(self.now, payload, &mut self.out);
        // It is handed on; here that is to drop it.
        self.out.kept.clear();
    }

    /// The same, with a payload that was read before.
    pub(crate) fn take_digest(&mut self, digest: &mut Digest) {
        self.tick(digest.payloads() as u32);
        self.sampler.offer_digest(self.now, digest, &mut self.out);
        self.out.kept.clear();
    }

    fn tick(&mut self, payloads: u32) {
        self.now += self.step * payloads;
        if self.sampler.next_deadline().is_some_and(|due| due <= self.now) {
            self.sampler.poll(self.now, &mut self.out);
        }
    }

    /// Offers `count` batches, which `make` makes by number, and returns the CPU time that this took
    /// without making them.
    pub(crate) fn run(
        &mut self,
        count: usize,
        came: Came,
        mut make: impl FnMut(usize) -> Bytes,
    ) -> Duration {
        let mut took = Duration::ZERO;
        for start in (0..count).step_by(AT_ONCE) {
            let numbers = start..count.min(start + AT_ONCE);
            let batches: Vec<Bytes> = numbers.map(&mut make).collect();
            took += match came {
                Came::Validated => {
                    let payloads: Vec<Payload> = batches.into_iter().map(validated).collect();
                    let begun = thread_cpu_time();
                    payloads.into_iter().for_each(|payload| self.take(payload));
                    thread_cpu_time() - begun
                }
                Came::Raw => {
                    let begun = thread_cpu_time();
                    for batch in batches {
                        let payload = Payload::parse(Signal::Traces, batch).expect("it is valid");
                        self.take(payload);
                    }
                    thread_cpu_time() - begun
                }
            };
        }
        took
    }

    /// Begins traces and returns their ids.
    fn seed(&mut self, batches: &Batches, ids: &mut Ids, fate: Fate) -> Vec<TraceId> {
        let new: Vec<TraceId> = (0..TRACES).map(|_| ids.take()).collect();
        self.run(TRACES, Came::Validated, |number| batches.of_one(fate, new[number]));
        new
    }
}

/// The median.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn rounds(mut round: impl FnMut() -> f64) -> f64 {
    median((0..ROUNDS).map(|_| round()).collect())
}

fn each(took: Duration, batches: usize) -> f64 {
    took.as_nanos() as f64 / (batches * SPANS) as f64
}

/// Measures the cases in which only one thing happens.
pub(crate) fn costs(batches: &Batches) -> Costs {
    let mut ids = Ids::new(1);
    let new_traces = rounds(|| {
        const COUNT: usize = 30_000;
        let mut bench = Bench::new();
        bench.run(2000, Came::Validated, |number| batches.of_one(Fate::of(number), ids.take()));
        let make = |number| batches.of_one(Fate::of(number), ids.take());
        each(bench.run(COUNT, Came::Validated, make), COUNT)
    });
    let append = rounds(|| {
        const COUNT: usize = 3 * TRACES;
        let mut bench = Bench::new();
        let seeds = bench.seed(batches, &mut ids, Fate::Ordinary);
        let make = |number: usize| batches.of_one(Fate::Ordinary, seeds[number % TRACES]);
        each(bench.run(COUNT, Came::Validated, make), COUNT)
    });
    Costs {
        new_traces,
        append,
        late_kept: late(batches, &mut ids, Fate::Failed),
        late_drop: late(batches, &mut ids, Fate::Ordinary),
    }
}

/// Spans of traces that were decided about: kept where they failed, else dropped.
fn late(batches: &Batches, ids: &mut Ids, fate: Fate) -> f64 {
    const COUNT: usize = 10 * TRACES;
    let mut bench = Bench::new();
    let mut seeds = bench.seed(batches, ids, fate);
    bench.now += WAIT;
    while bench.sampler.held().traces > 0 {
        bench.sampler.poll(bench.now, &mut bench.out);
        bench.out.kept.clear();
    }
    let is_kept = fate == Fate::Failed;
    // Chance kept some.
    seeds.retain(|id| {
        let before = bench.out.sampled_out;
        bench.take(validated(batches.of_one(Fate::Ordinary, *id)));
        (bench.out.sampled_out == before) == is_kept
    });
    assert!(seeds.len() > TRACES / 2, "the policies decide as they are told");
    let ns = rounds(|| {
        let make = |number: usize| batches.of_one(Fate::Ordinary, seeds[number % seeds.len()]);
        each(bench.run(COUNT, Came::Validated, make), COUNT)
    });
    let stats = bench.sampler.stats();
    let came = (ROUNDS * COUNT * SPANS) as u64;
    let late = if is_kept { stats.late_kept } else { stats.late_sampled_out };
    assert!(late >= came, "{late} of {came} late spans found their decision");
    ns
}

/// Spans a CPU second where new traces come without end and are decided about when they have waited,
/// and the share of them that is kept.
pub(crate) fn mixed(batches: &Batches, came: Came) -> (f64, f64) {
    const COUNT: usize = 300_000;
    let mut ids = Ids::new(2);
    let mut make = |number| batches.of_one(Fate::of(number), ids.take());
    let mut bench = Bench::holding(HELD);
    // Until as much is decided as comes, and all memory was used once.
    bench.run(3 * HELD as usize, Came::Validated, &mut make);
    let before = bench.sampler.stats();
    let rates = (0..3).map(|_| {
        let took = bench.run(COUNT, came, &mut make);
        (COUNT * SPANS) as f64 / took.as_secs_f64()
    });
    let rate = median(rates.collect());
    let after = bench.sampler.stats();
    let kept = after.traces_kept - before.traces_kept;
    let decided = kept + after.traces_sampled_out - before.traces_sampled_out;
    (rate, kept as f64 / decided as f64)
}

/// What a span takes while its trace is held: the mean, and the most, of tables that are filled to
/// different points between one growth and the next. `spread` has the ten spans of a batch be of ten
/// traces instead of one.
pub(crate) fn weight(batches: &Batches, spread: bool) -> (Weight, Weight) {
    const COUNTS: [usize; 4] = [14_000, 17_000, 20_000, 24_000];
    let weights = COUNTS.map(|count| weight_of(batches, count, spread));
    let (mut mean, mut most) = (Weight::default(), Weight::default());
    for weight in weights {
        mean.allocated += weight.allocated / COUNTS.len() as f64;
        mean.counted += weight.counted / COUNTS.len() as f64;
        most.allocated = most.allocated.max(weight.allocated);
        most.counted = most.counted.max(weight.counted);
    }
    (mean, most)
}

fn weight_of(batches: &Batches, count: usize, spread: bool) -> Weight {
    let mut ids = Ids::new(3);
    let mut bench = Bench::new();
    let ((), grown) = alloc::weigh(|| {
        let mut open = [[0; 16]; SPANS];
        bench.run(count, Came::Validated, |number| {
            if !spread {
                return batches.of_one(Fate::of(number), ids.take());
            }
            if number.is_multiple_of(SPANS) {
                open = std::array::from_fn(|_| ids.take());
            }
            batches.of_many(Fate::of(number), |index| open[index])
        });
    });
    let held = bench.sampler.held();
    assert_eq!(held.spans, (count * SPANS) as u64, "all of it waits");
    let spans = held.spans as f64;
    Weight { allocated: grown as f64 / spans, counted: held.bytes as f64 / spans }
}
