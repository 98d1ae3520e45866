//! What admits or refuses: semaphore, breaker, limiter, buffer.

use teleflow_benches::report::Report;

pub(crate) fn run(_report: &mut Report) {}
