//! How many instructions do the hot paths take?
//!
//! Counted by valgrind's callgrind through gungraun, on one thread: the same code gives the same
//! count whatever else the machine does, so that `cargo xtask bench --against main` sees a growth
//! of two in a hundred. A count is no time: it knows neither caches nor contention.
//!
//! The name of a case says what is counted in one go, and so what the figure is divided by:
//! `calls_1000` is a thousand calls. The objects were made and warmed before the count begins, and
//! are dropped after it ends.

#![allow(unused_qualifications, reason = "gungraun writes them")]

use gungraun::{Callgrind, LibraryBenchmarkConfig, main};

#[path = "instructions/cache.rs"]
mod cache;
#[path = "instructions/concurrency.rs"]
mod concurrency;
#[path = "instructions/pool.rs"]
mod pool;
#[path = "instructions/telemetry.rs"]
mod telemetry;

use crate::cache::cache_group;
use crate::concurrency::concurrency_group;
use crate::pool::pool_group;
use crate::telemetry::telemetry_group;

/// Calls in a count of `calls_1000`.
pub(crate) const CALLS: usize = 1000;

main!(
    // Of what callgrind can tell, only the count is exact.
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"]));
    library_benchmark_groups = pool_group,
    concurrency_group,
    cache_group,
    telemetry_group
);
