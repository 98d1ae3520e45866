//! What does it cost to keep or drop whole traces, against the Collector's processor that does?
//!
//! Both get the batches of the Go side's own benchmark, ten spans of 187 bytes, and have the same
//! three policies: errors, more than a second, a tenth of the rest. `new_traces`: each batch begins
//! a trace. `append`: each goes to one that is held. `late_kept` and `late_drop`: each goes to one
//! that was decided about. `mixed`: each begins a trace while those that have waited are decided
//! about, with 50 000 of them held. `bytes_per_span`: what is held for a span, its bytes included.
//! `two_shards`: how many times as much two threads do as one, where every trace belongs to one of
//! them and comes to either; against two that need not care. `mixed/on_disk`: as `mixed`, where what
//! is held is in files.
//!
//! The allocator is mimalloc, for the sake of `two_shards`: what a shard frees was allocated on another
//! core, and under one lock in glibc. `--features system-allocator` has the system's.
//!
//! All times are CPU times, of the rival with those of its garbage collector: they say what a span
//! costs on a machine that does other things as well.
//!
//! ```text
//! cargo bench -p teleflow-benches --bench sampler              # everything, two minutes
//! cargo bench -p teleflow-benches --bench sampler -- --alone   # without the rival
//! cargo bench -p teleflow-benches --bench sampler -- --shards  # the two shards alone
//! cargo bench -p teleflow-benches --bench sampler -- --on-disk # what is in files alone
//! ```

#[cfg(feature = "system-allocator")]
use std::alloc::System;
use std::io;

#[cfg(not(feature = "system-allocator"))]
use mimalloc::MiMalloc;
use teleflow_benches::alloc::Weighing;
use teleflow_benches::process::Cores;
use teleflow_benches::report::{Asked, Better, Report, Rival};

#[path = "sampler/batches.rs"]
mod batches;
#[path = "sampler/cases.rs"]
mod cases;
#[path = "sampler/on_disk.rs"]
mod on_disk;
#[path = "sampler/rival.rs"]
mod rival;
#[path = "sampler/shards.rs"]
mod shards;

use self::batches::{Batches, SPANS};
use self::cases::Came;
use self::shards::Mixture;

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: Weighing<MiMalloc> = Weighing(MiMalloc);

#[cfg(feature = "system-allocator")]
#[global_allocator]
static ALLOCATOR: Weighing<System> = Weighing(System);

fn main() -> io::Result<()> {
    let flags = xflags::parse_or_exit! {
        /// Leave out the rival, which takes half a minute.
        optional --alone
        /// Measure the two shards alone.
        optional --shards
        /// Measure what is held in files alone.
        optional --on-disk
        /// Passed by cargo bench.
        optional --bench
    };
    let cores = Cores::take()?;
    let mut report = Report::new("sampler");
    let batches = Batches::new();
    if flags.on_disk {
        on_disk(&mut report, &batches)?;
        let (plain, _) = cases::mixed(&batches, Came::Validated);
        report.row("sampler/mixed", "spans/CPU-s", Better::Higher, plain, None);
        return report.publish().map(drop);
    }
    two_shards(&mut report, &batches, cores);
    if flags.shards {
        return report.publish().map(drop);
    }
    let theirs = if flags.alone {
        Err(io::Error::other("--alone"))
    } else {
        rival::Measured::on(cores.theirs)
    };
    let theirs = theirs
        .inspect_err(|why| report.note(format!("the Go processor was not measured: {why}")))
        .ok();
    let name = theirs.as_ref().map(rival::Measured::name).unwrap_or_default();
    let rival = |figure: &dyn Fn(&rival::Measured) -> f64| {
        theirs.as_ref().map(|theirs| Rival { name: &name, value: figure(theirs) })
    };

    let wire = batches.wire_bytes() as f64 / SPANS as f64;
    let validated = cases::mixed(&batches, Came::Validated);
    let raw = cases::mixed(&batches, Came::Raw);
    let costs = cases::costs(&batches);
    let (together, most) = cases::weight(&batches, false);
    let (spread, _) = cases::weight(&batches, true);

    let mixed = rival(&|theirs| theirs.mixed_spans_per_cpu_second);
    report.row("sampler/mixed", "spans/CPU-s", Better::Higher, validated.0, mixed);
    report.row("sampler/mixed/with_validation", "spans/CPU-s", Better::Higher, raw.0, mixed);
    let mut cost =
        |metric, ours, theirs| report.row(metric, "ns/span", Better::Lower, ours, theirs);
    cost("sampler/new_traces", costs.new_traces, rival(&|theirs| theirs.ns_per_span.new_traces));
    cost("sampler/append", costs.append, rival(&|theirs| theirs.ns_per_span.append));
    cost("sampler/late_kept", costs.late_kept, rival(&|theirs| theirs.ns_per_span.late_kept));
    cost("sampler/late_drop", costs.late_drop, rival(&|theirs| theirs.ns_per_span.late_drop));
    let mut bytes = |metric, ours, theirs| report.row(metric, "bytes", Better::Lower, ours, theirs);
    let retained = rival(&|theirs| theirs.retained_bytes_per_span);
    bytes("sampler/bytes_per_span", together.allocated, retained);
    let over = rival(&|theirs| theirs.retained_bytes_per_span - theirs.wire_bytes_per_span);
    bytes("sampler/bytes_per_span/beyond_wire", together.allocated - wire, over);
    bytes("sampler/bytes_per_span/beyond_wire_at_most", most.allocated - wire, over);
    bytes("sampler/bytes_per_span/as_counted", together.counted, None);
    bytes("sampler/bytes_per_span/ten_traces_a_batch", spread.allocated, None);

    on_disk(&mut report, &batches)?;

    report.ask("sampler/mixed", Asked::AtLeast(2.5e6));
    report.ask("sampler/mixed", Asked::Ratio(3.0));
    report.ask("sampler/late_drop", Asked::AtMost(15.0));
    report.ask("sampler/bytes_per_span/beyond_wire", Asked::AtMost(48.0));
    report.ask("sampler/two_shards", Asked::Ratio(0.9));
    report.note(format!("{wire:.1} bytes a span on the wire, with its share of the resource"));
    report.note(format!("in `mixed` ours keeps {:.1} % of the traces", 100.0 * validated.1));
    if let Some(theirs) = &theirs {
        let (kept, procs) = (100.0 * theirs.mixed_kept, theirs.gomaxprocs);
        report.note(format!("the rival {kept:.1} %; it runs with GOMAXPROCS={procs}"));
        if (theirs.wire_bytes_per_span - wire).abs() > 0.5 {
            let bytes = theirs.wire_bytes_per_span;
            report.note(format!("its spans are not the same: {bytes:.1} bytes on the wire"));
        }
    }
    report.note(
        "ours starts at validated bytes (`with_validation`: at bytes as they came), the rival at \
         decoded batches: decoding is not counted",
    );
    report.publish().map(drop)
}

fn on_disk(report: &mut Report, batches: &Batches) -> io::Result<()> {
    let found = on_disk::measure(batches)?;
    report.row("sampler/mixed/on_disk", "spans/CPU-s", Better::Higher, found.mixed, None);
    let metric = "sampler/bytes_per_span/on_disk";
    report.row(metric, "bytes", Better::Lower, found.memory, None);
    report.note(format!("{metric} is what stays in memory; in files are {:.1} bytes", found.disk));
    Ok(())
}

fn two_shards(report: &mut Report, batches: &Batches, cores: Cores) {
    for (metric, mixture) in [
        ("sampler/two_shards", Mixture::OneTrace),
        ("sampler/two_shards/ten_traces_a_batch", Mixture::TenTraces),
    ] {
        let scaling = shards::scaling(batches, mixture, [cores.ours, cores.theirs]);
        let apart = Rival { name: "two samplers that share nothing", value: scaling.apart };
        report.row(metric, "times one", Better::Higher, scaling.shards, Some(apart));
        report.note(format!("{metric}: {:.0} spans a second", scaling.rate));
        let routing = shards::routing(batches, mixture);
        report.row(format!("{metric}/routing"), "ns/span", Better::Lower, routing, None);
    }
}
