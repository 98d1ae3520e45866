//! What does a span cost a gateway that receives OTLP, samples it by whole traces and sends it on?
//!
//! Each gateway runs on one core of this machine and takes all the load it can; the generator and
//! the sink share another. `tail` samples (errors, slow traces, a tenth of the rest) and batches,
//! `pass` only batches. OTLP over gRPC in and out, nothing compressed, 512 bytes a span, each trace
//! spread over two requests. The latencies at full load are those of the queue in front of it. So
//! a third case, `paced`, offers both the same rate, nine tenths of what the rival sustains, and
//! compares the latencies and the memory that this takes.
//!
//! ```text
//! cargo bench -p teleflow-benches --bench gateway                      # everything, 6 minutes
//! cargo bench -p teleflow-benches --bench gateway -- tail/512          # some cases
//! cargo bench -p teleflow-benches --bench gateway -- --only otelcol    # one gateway
//! cargo bench -p teleflow-benches --bench gateway -- --self-test       # the generator's own cost
//! ```
//!
//! `TELEFLOW_BIN` names a program to measure instead of building one.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its progress")]

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time;

use teleflow_benches::load::{Generator, Load, Pace};
use teleflow_benches::payload::Payload;
use teleflow_benches::peer::{Gateway, Mode};
use teleflow_benches::process::{self, Cores};
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_benches::sink::Sink;
use teleflow_benches::trial::{self, Case, Measured};

/// What both take with ease, where no rival sets the rate.
const RATE_WITHOUT_RIVAL: f64 = 100_000.0;

fn main() -> ExitCode {
    let flags = xflags::parse_or_exit! {
        /// The cases whose name contains this, such as tail/512.
        optional filter: String
        /// How long each case is measured after its first seconds (default: tail 27, pass 8).
        optional --secs secs: u64
        /// Measure only this gateway: teleflow or otelcol.
        optional --only gateway: String
        /// Spans per second of the paced case, instead of what the Collector sustains.
        optional --rate spans: f64
        /// Let the generator send to the sink, to see what both cost without a gateway.
        optional --self-test
        /// Passed by cargo bench; without it there is one second of self-test.
        optional --bench
    };
    let run = async {
        if !flags.bench {
            return self_test(Duration::from_secs(1)).await.map(|()| true);
        }
        let cores = Cores::take()?;
        if flags.self_test {
            let window = Duration::from_secs(flags.secs.unwrap_or(5));
            return self_test(window).await.map(|()| true);
        }
        let bench = Bench {
            cores,
            filter: flags.filter.unwrap_or_default(),
            window: flags.secs.map(Duration::from_secs),
            only: flags.only,
            rate: flags.rate,
        };
        bench.run().await
    };
    // One thread for the generator and the sink: they share a core anyway.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

// === the whole benchmark ===

struct Bench {
    cores: Cores,
    filter: String,
    window: Option<Duration>,
    only: Option<String>,
    rate: Option<f64>,
}

impl Bench {
    /// Measures and reports; false where ours lost or made up spans.
    async fn run(&self) -> io::Result<bool> {
        let mut report = Report::new("gateway");
        if let Some(only) = self.only.as_deref().filter(|only| !GATEWAYS.contains(only)) {
            return Err(io::Error::other(format!("no gateway {only}: one of {GATEWAYS:?}")));
        }
        let ours = if self.wants("teleflow") { Some(Gateway::teleflow()?) } else { None };
        let rival = if self.wants("otelcol") {
            Gateway::collector()
                .inspect_err(|why| report.note(format!("the Collector was not measured: {why}")))
                .ok()
        } else {
            None
        };
        report
            .note("one core each; Go's GOMAXPROCS follows from it, GOGC and GOMEMLIMIT are unset");
        let mut sound = true;
        for mode in [Mode::Tail, Mode::Pass] {
            let mut rate = self.rate;
            for case in self.cases(mode) {
                let case = match case.load.pace {
                    Pace::Closed => case,
                    Pace::SpansPerSecond(usual) => case.at(rate.unwrap_or(usual)),
                };
                let theirs = self.measure(rival.as_ref(), &case).await?;
                let mine = self.measure(ours.as_ref(), &case).await?;
                if case.spans == LARGE_SPANS {
                    rate = rate.or_else(|| theirs.as_ref().map(|theirs| 0.9 * theirs.rate()));
                }
                rows(&mut report, &case, mine.as_ref(), rival.as_ref().zip(theirs.as_ref()));
                sound &= mine.as_ref().is_none_or(|mine| mine.problems.is_empty());
                for problem in theirs.iter().flat_map(|theirs| &theirs.problems) {
                    report.note(format!("{}, the Collector: {problem}", case.name));
                }
                for (gateway, measured) in [(ours.as_ref(), mine), (rival.as_ref(), theirs)] {
                    let (Some(gateway), Some(measured)) = (gateway, measured) else { continue };
                    for remark in measured.remarks {
                        report.note(format!("{}, {}: {remark}", case.name, gateway.name));
                    }
                }
            }
        }
        report.publish()?;
        Ok(sound)
    }

    fn wants(&self, gateway: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == gateway)
    }

    /// The cases of a mode: small requests, large ones, and those at a given rate.
    fn cases(&self, mode: Mode) -> Vec<Case> {
        let (names, warm_up, window) = match mode {
            Mode::Tail => (["tail/100", "tail/512", "tail/paced"], 3, 27),
            Mode::Pass => (["pass/100", "pass/512", "pass/paced"], 2, 8),
        };
        let window = self.window.unwrap_or_else(|| Duration::from_secs(window));
        let case = |name, spans, load| Case {
            name,
            mode,
            spans,
            load,
            warm_up: Duration::from_secs(warm_up),
            window,
        };
        let mut cases = vec![
            case(names[0], 100, SMALL),
            case(names[1], LARGE_SPANS, LARGE),
            case(names[2], LARGE_SPANS, LARGE).at(RATE_WITHOUT_RIVAL),
        ];
        cases.retain(|case| case.name.contains(&self.filter));
        cases
    }

    async fn measure(
        &self,
        gateway: Option<&Gateway>,
        case: &Case,
    ) -> io::Result<Option<Measured>> {
        match gateway {
            Some(gateway) => trial::run(gateway, case, self.cores).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Their names for `--only`.
const GATEWAYS: [&str; 2] = ["teleflow", "otelcol"];
const SMALL: Load = Load { connections: 16, lanes: 1, pace: Pace::Closed };
const LARGE: Load = Load { connections: 8, lanes: 2, pace: Pace::Closed };
const LARGE_SPANS: usize = 512;

/// Adds what a case tells.
///
/// One that takes all there is compares the cost of a span; one at a given rate, what else it
/// takes to keep up.
fn rows(
    report: &mut Report,
    case: &Case,
    ours: Option<&Measured>,
    rival: Option<(&Gateway, &Measured)>,
) {
    type Figure = fn(&Measured) -> f64;
    let mut row = |metric: &str, unit, better, figure: Figure| {
        let theirs = rival.map(|(gateway, theirs)| (gateway, figure(theirs)));
        let theirs = theirs.map(|(gateway, value)| Rival { name: &gateway.name, value });
        report.row(format!("gateway/{metric}"), unit, better, ours.map(figure), theirs);
    };
    let name = case.name;
    let mode = name.split('/').next().unwrap_or(name);
    if let Pace::Closed = case.load.pace {
        let (unit, better) = ("spans/CPU-s", Better::Higher);
        if case.spans == LARGE_SPANS {
            // The headline, under a name of its own.
            row(&format!("{mode}/spans_per_cpu_second"), unit, better, Measured::per_cpu_second);
        }
        row(&format!("{name}/spans_per_cpu_second"), unit, better, Measured::per_cpu_second);
        row(&format!("{name}/cpu_seconds_per_million_spans"), "CPU-s", Better::Lower, |measured| {
            1e6 / measured.per_cpu_second()
        });
        row(&format!("{name}/accepted"), "spans/s", Better::Higher, Measured::rate);
    } else {
        row(&format!("{mode}/peak_rss"), "MiB", Better::Lower, Measured::peak_mib);
    }
    row(&format!("{name}/p50"), "ms", Better::Lower, |measured| measured.p50);
    row(&format!("{name}/p99"), "ms", Better::Lower, |measured| measured.p99);
    if let Pace::SpansPerSecond(rate) = case.load.pace {
        report.note(format!("{name} and {mode}/peak_rss are at {rate:.0} spans/s"));
    }
}

// === without a gateway ===

/// What the generator and the sink cost together, on the one core they share.
async fn self_test(window: Duration) -> io::Result<()> {
    for (spans, load) in [(100, SMALL), (512, LARGE)] {
        let sink = Sink::bind().await?;
        let generator =
            Generator::start(sink.address(), load, Arc::new(Payload::new(spans))).await?;
        time::sleep(Duration::from_millis(200)).await;
        let (sent, cpu) = (generator.sent().accepted, process::own_cpu_time()?);
        time::sleep(window).await;
        let sent = generator.sent().accepted - sent;
        let cpu = (process::own_cpu_time()? - cpu).as_secs_f64();
        let (total, _) = generator.stop().await?;
        println!(
            "self-test, {spans} spans a request: {:.0} spans per CPU second of generator and sink",
            sent as f64 / cpu,
        );
        if total.accepted != sink.spans() || total.refused > 0 {
            let received = sink.spans();
            return Err(io::Error::other(format!("sent {total:?}, received {received} spans")));
        }
    }
    Ok(())
}
