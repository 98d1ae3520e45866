//! What does it cost to bound work, against those who do the same with less, or behind a lock?

use std::io;

use teleflow_benches::alloc::Counting;
use teleflow_benches::report::Report;

#[path = "concurrency/limits.rs"]
mod limits;
#[path = "concurrency/work.rs"]
mod work;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> io::Result<()> {
    let mut report = Report::new("concurrency");
    limits::run(&mut report);
    work::run(&mut report);
    report.publish().map(drop)
}
