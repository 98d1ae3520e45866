//! Delivery end to end: what a span costs, what happens under too much load, with few connections
//! and large bodies, with very many connections, and how fast the spool writes and drains.
//!
//! The program runs on one core; the generator and the sink share another; the rivals do the same
//! in the same run. OTLP over gRPC or HTTP in, gRPC out, spans of 512 bytes, compressed on both
//! sides or on none.
//!
//! ```text
//! cargo xtask bench delivery                                   # everything, 12 minutes
//! cargo xtask bench delivery -- --quick                        # 3 minutes
//! cargo xtask bench delivery -- load                           # one part
//! cargo xtask bench delivery -- capacity --filter pass/http    # some of its cases
//! cargo xtask bench delivery -- --only teleflow                # without rivals
//! ```
//!
//! The parts are `capacity`, `load`, `bodies`, `connections` and `spool`. `TELEFLOW_BIN` names a
//! program to measure instead of building one.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its progress")]

#[path = "delivery/bodies.rs"]
mod bodies;
#[path = "delivery/connections.rs"]
mod connections;
#[path = "delivery/overload.rs"]
mod overload;

use std::io;
use std::process::ExitCode;

use teleflow_benches::client::Protocol;
use teleflow_benches::encoding::Encoding;
use teleflow_benches::peer::{Kind, Mode};
use teleflow_benches::process::{self, Cores};
use teleflow_benches::report::Asked;
use teleflow_benches::spool;
use teleflow_benches::suite::{Plan, Suite};

const PARTS: [&str; 5] = ["capacity", "load", "bodies", "connections", "spool"];

fn main() -> ExitCode {
    let flags = xflags::parse_or_exit! {
        /// One part: capacity, load, bodies, connections or spool.
        optional part: String
        /// The cases of `capacity` whose name contains this, such as tail/grpc/100/gzip.
        optional --filter text: String
        /// Less of everything: 3 minutes.
        optional --quick
        /// Measure only this gateway: teleflow, otelcol or rotel.
        optional --only gateway: String
        /// Passed by cargo bench; without it nothing is measured.
        optional --bench
    };
    process::finish(async {
        if !flags.bench {
            return Ok(true);
        }
        let wanted = flags.part.as_deref();
        if let Some(part) = wanted.filter(|part| !PARTS.contains(part)) {
            return Err(io::Error::other(format!("no part {part}: one of {PARTS:?}")));
        }
        let wants = |part: &str| wanted.is_none_or(|wanted| wanted == part);
        let cores = Cores::take()?;
        // Those that it starts inherit the limit.
        let files = process::raise_open_files(connections::FILES)?;
        let kinds: &[Kind] = match flags.quick {
            true => &[Kind::Teleflow, Kind::Collector],
            false => &[Kind::Teleflow, Kind::Collector, Kind::Rotel],
        };
        let mut suite = Suite::new("delivery", cores, kinds, flags.only.as_deref())?;
        if wants("capacity") {
            capacity(&mut suite, flags.filter.as_deref().unwrap_or_default(), flags.quick).await;
        }
        if wants("load") {
            overload::run(&mut suite, flags.quick).await;
        }
        if wants("bodies") {
            bodies::run(&mut suite, flags.quick).await;
        }
        if wants("connections") {
            connections::run(&mut suite, files).await;
        }
        if wants("spool") {
            suite.chapter("spool: write and drain");
            let place = spool::place()?;
            if !flags.quick {
                spool::append(&mut suite.report, &place)?;
            }
            spool::drain(&mut suite.report, &place)?;
        }
        suite.report.publish()?;
        Ok(suite.sound)
    })
}

/// What a span costs, sampled and passed through, over both protocols, compressed and not.
async fn capacity(suite: &mut Suite, filter: &str, quick: bool) {
    let plan = if quick { Plan::seconds([3, 1], [3, 3]) } else { Plan::seconds([3, 1], [6, 5]) };
    let encodings: &[Encoding] =
        if quick { &[Encoding::None] } else { &[Encoding::None, Encoding::Gzip, Encoding::Zstd] };
    for mode in [Mode::Tail, Mode::Pass] {
        for encoding in encodings {
            suite.chapter(&format!("capacity: {}, {}", mode.name(), encoding.name()));
            // The rivals where they are at their best, and in what most send.
            let kinds: &[Kind] = match (encoding, mode) {
                (Encoding::None, _) => &[Kind::Collector, Kind::Rotel],
                (Encoding::Gzip, Mode::Pass) => &[Kind::Collector, Kind::Rotel],
                (Encoding::Gzip, Mode::Tail) | (Encoding::Zstd, _) => &[],
            };
            for (protocol, spans) in [(Protocol::Grpc, 100), (Protocol::Http, 512)] {
                let case = plan.case(mode, protocol, spans, *encoding);
                if case.name.contains(filter) {
                    suite.capacity(&case, kinds).await;
                }
            }
        }
        if !quick {
            suite.chapter(&format!("capacity: {}, large requests over gRPC, paced", mode.name()));
            suite.large_and_paced(&plan, mode, filter, None).await;
        }
    }
    let cost = "none/cpu_seconds_per_million_spans";
    for (case, most) in [
        ("tail/grpc/100", 1.0),
        ("tail/http/512", 1.0),
        ("pass/grpc/100", 0.9),
        ("pass/http/512", 0.6),
    ] {
        suite.report.ask(format!("delivery/{case}/{cost}"), Asked::AtMost(most));
        suite.report.ask(format!("delivery/{case}/{cost}"), Asked::Ratio(5.0));
    }
}
