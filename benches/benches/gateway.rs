//! What does a span cost a gateway that receives OTLP, samples it by whole traces and sends it on?
//!
//! The quick core of `delivery`: OTLP over gRPC in and out, nothing compressed. Each gateway runs
//! on one core of this machine and takes all the load it can; the generator and the sink share
//! another. `tail` samples (errors, slow traces, a tenth of the rest) and batches, `pass` only
//! batches. 512 bytes a span, each trace spread over two requests. The latencies at full load are
//! those of the queue in front of it. So a third case, `paced`, offers both the same rate, nine
//! tenths of what the rival sustains, and compares the latencies and the memory that this takes.
//!
//! ```text
//! cargo bench -p teleflow-benches --bench gateway                      # everything, 5 minutes
//! cargo bench -p teleflow-benches --bench gateway -- tail/grpc/512     # some cases
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

use teleflow_benches::bodies::Bodies;
use teleflow_benches::client::Protocol;
use teleflow_benches::encoding::Encoding;
use teleflow_benches::load::{Generator, Load, Pace};
use teleflow_benches::peer::{Kind, Mode};
use teleflow_benches::process::{self, Cores};
use teleflow_benches::sink::Sink;
use teleflow_benches::suite::{Plan, Suite};

fn main() -> ExitCode {
    let flags = xflags::parse_or_exit! {
        /// The cases whose name contains this, such as tail/grpc/512.
        optional filter: String
        /// How long each case is measured after its first seconds (default: tail 17, pass 8).
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
        let window = flags.secs.map_or([17, 8], |secs| [secs, secs]);
        let plan = Plan::seconds([3, 2], window);
        let kinds = [Kind::Teleflow, Kind::Collector];
        let mut suite = Suite::new("gateway", cores, &kinds, flags.only.as_deref())?;
        run(&mut suite, &plan, &flags.filter.unwrap_or_default(), flags.rate).await;
        suite.report.publish()?;
        Ok(suite.sound)
    };
    process::finish(run)
}

/// Measures the cases whose name contains `filter`.
async fn run(suite: &mut Suite, plan: &Plan, filter: &str, rate: Option<f64>) {
    for mode in [Mode::Tail, Mode::Pass] {
        let case = plan.case(mode, Protocol::Grpc, 100, Encoding::None);
        if case.name.contains(filter) {
            suite.capacity(&case, &[Kind::Collector]).await;
        }
        suite.large_and_paced(plan, mode, filter, rate).await;
    }
}

/// What the generator and the sink cost together, on the one core they share.
async fn self_test(window: Duration) -> io::Result<()> {
    for (spans, connections, lanes) in [(100, 16, 1), (512, 8, 2)] {
        let (protocol, encoding, pace) = (Protocol::Grpc, Encoding::None, Pace::Closed);
        let load = Load { protocol, encoding, connections, lanes, pace };
        let sink = Sink::bind().await?;
        let bodies = Arc::new(Bodies::new(spans, encoding, true)?);
        let generator = Generator::start(load.connect(sink.address()).await?, load, &bodies);
        time::sleep(Duration::from_millis(200)).await;
        let (sent, cpu) = (generator.sent().accepted, process::own_cpu_time()?);
        time::sleep(window).await;
        let sent = generator.sent().accepted - sent;
        let cpu = (process::own_cpu_time()? - cpu).as_secs_f64();
        let total = generator.stop().await?.sent;
        println!(
            "self-test, {spans} spans a request: {:.0} spans per CPU second of generator and sink",
            sent as f64 / cpu,
        );
        if total.accepted != sink.spans() || total.refused + total.failed > 0 {
            let received = sink.spans();
            return Err(io::Error::other(format!("sent {total:?}, received {received} spans")));
        }
    }
    Ok(())
}
