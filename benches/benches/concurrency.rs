//! What does it cost to bound work, against those who do the same with less, or behind a lock?

use std::io;

use teleflow_benches::alloc::Counting;
use teleflow_benches::report::{Asked, Report};

#[path = "concurrency/buffer.rs"]
mod buffer;
#[path = "concurrency/limits.rs"]
mod limits;
#[path = "concurrency/scenes.rs"]
mod scenes;
#[path = "concurrency/work.rs"]
mod work;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> io::Result<()> {
    let mut report = Report::new("concurrency");
    limits::run(&mut report);
    buffer::run(&mut report);
    work::run(&mut report);
    scenes::run(&mut report);
    // A semaphore with statistics may cost somewhat more than one without.
    report.ask("concurrency/semaphore/1t", Asked::WithinTimes(1.3));
    report.ask("concurrency/semaphore/2t", Asked::WithinTimes(1.3));
    report.ask("concurrency/breaker/1t", Asked::AtMost(5.0));
    report.ask("concurrency/breaker/2t", Asked::Ratio(3.0));
    report.ask("concurrency/worker_pool/1m", Asked::Ratio(1.0));
    report.publish().map(drop)
}
