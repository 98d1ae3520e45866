//! How fast does the spool write with each way to sync, and does it drain as fast as the disk
//! reads? A part of `delivery`.

use std::io;

use teleflow_benches::report::Report;
use teleflow_benches::spool;

fn main() -> io::Result<()> {
    let mut report = Report::new("spool");
    let place = spool::place()?;
    spool::append(&mut report, &place)?;
    spool::drain(&mut report, &place)?;
    report.publish().map(drop)
}
