//! What it costs to hold spans on disk: `mixed`, with the requests in files.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use teleflow_benches::alloc;
use teleflow_pool::mapped::Arena;
use teleflow_sampler::{Config, Output, TailSampler};

use crate::batches::{Batches, Fate, Ids, SPANS};
use crate::cases::{Bench, Came, HELD, WAIT, config, median};

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnDisk {
    /// Spans a CPU second, that of the kernel included.
    pub(crate) mixed: f64,
    /// What stays in memory for a span, by the allocator's count.
    pub(crate) memory: f64,
    /// What is on disk for a span.
    pub(crate) disk: f64,
}

/// Measures in a folder for temporary files.
pub(crate) fn measure(batches: &Batches) -> io::Result<OnDisk> {
    const COUNT: usize = 300_000;
    let folder = tempfile::tempdir()?;
    let arena = Arc::new(Arena::open(folder.path(), 4 << 30)?);
    let bench = || {
        let config = Config { storage: Some(arena.clone()), ..config() };
        let sampler = TailSampler::new(config).expect("it makes sense");
        Bench { sampler, out: Output::default(), now: Instant::now(), step: WAIT / HELD }
    };
    let mut ids = Ids::new(4);
    let mut make = |number| batches.of_one(Fate::of(number), ids.take());

    let mut weighed = bench();
    let held = HELD as usize / 2;
    let ((), grown) = alloc::weigh(|| {
        weighed.run(held, Came::Validated, &mut make);
    });
    let spans = (held * SPANS) as f64;
    let disk = weighed.sampler.held().stored_bytes as f64 / spans;
    drop(weighed);

    let mut bench = bench();
    // Until as much is decided as comes, and all memory was used once.
    bench.run(3 * HELD as usize, Came::Validated, &mut make);
    let rates = (0..3).map(|_| {
        let took = bench.run(COUNT, Came::Validated, &mut make);
        (COUNT * SPANS) as f64 / took.as_secs_f64()
    });
    let mixed = median(rates.collect());
    let stored = bench.sampler.stats().storage;
    assert_eq!((stored.full, stored.failed), (0, 0), "all of it was on disk");
    Ok(OnDisk { mixed, memory: grown as f64 / spans, disk })
}
