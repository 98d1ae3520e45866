//! Few connections, and bodies that are larger than an HTTP/2 window: does anything stand still?

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time;

use teleflow_benches::bodies::Bodies;
use teleflow_benches::client::Protocol;
use teleflow_benches::encoding::Encoding;
use teleflow_benches::latency::Latencies;
use teleflow_benches::load::{Ended, Generator, Load, Pace};
use teleflow_benches::peer::{Gateway, Kind, Mode, Setup};
use teleflow_benches::process::Cores;
use teleflow_benches::report::{Asked, Better, Rival};
use teleflow_benches::rig::Rig;
use teleflow_benches::sink::Sink;
use teleflow_benches::suite::{Plan, Suite};
use teleflow_benches::trial::Measured;

/// The spans of a body twice as large as the usual window of 64 KiB.
const SPANS: usize = 256;

/// Spans of 512 bytes in a MiB.
const SPANS_IN_MIB: usize = 2048;

const SETUP: Setup = Setup { mode: Mode::Pass, encoding: Encoding::None, bounds: None };

/// How long one after the other is sent, before and in the time that counts.
const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(2);

/// One size: its name, and the latencies over gRPC and over HTTP/1.1.
struct Size {
    name: &'static str,
    grpc: Latencies,
    http: Latencies,
}

pub(crate) async fn run(suite: &mut Suite, quick: bool) {
    let plan = Plan::seconds([1, 1], [4, 4]);
    for (connections, lanes) in if quick { &[(1, 8)][..] } else { &[(1, 8), (4, 2)] } {
        suite.chapter(&format!("bodies: {connections} connections, {lanes} requests on each"));
        let mut case = plan.case(Mode::Pass, Protocol::Grpc, SPANS, Encoding::None);
        (case.load.connections, case.load.lanes) = (*connections, *lanes);
        case.name = format!("connections/{connections}");
        let outcome = suite.measure(&case, &[Kind::Collector, Kind::Rotel]).await;
        let metric = format!("{}/accepted", case.name);
        suite.row(&metric, "spans/s", Better::Higher, &outcome, Measured::rate);
        suite.latencies(&case.name, &outcome);
    }
    large(suite).await;
}

/// One connection, one request after the other, each larger than the window.
async fn large(suite: &mut Suite) {
    suite.chapter("bodies: one after the other on one connection");
    let mut theirs = Vec::new();
    for index in suite.rivals(&[Kind::Collector, Kind::Rotel], &SETUP) {
        match sizes(&suite.rivals[index], suite.cores).await {
            Ok((sizes, _)) => theirs.push((index, sizes)),
            Err(error) => suite.failed("bodies", index, &error),
        }
    }
    let Some(gateway) = &suite.ours else { return };
    let ours = match sizes(gateway, suite.cores).await {
        Ok((sizes, problems)) => {
            suite.sound &= problems.is_empty();
            problems.iter().for_each(|text| suite.report.note(format!("bodies: {text}")));
            sizes
        }
        Err(error) => return suite.unsound("bodies", &error),
    };
    type Figure = fn(&Latencies) -> f64;
    for (number, size) in ours.iter().enumerate() {
        let figures: [(&str, Figure); 2] =
            [("p50", |latencies| latencies.p50), ("p99", |latencies| latencies.p99)];
        for (word, figure) in figures {
            let metric = suite.metric(&format!("body/{}/grpc/{word}", size.name));
            let (grpc, http) = (figure(&size.grpc), figure(&size.http));
            let rival = Rival { name: "teleflow over HTTP/1.1", value: http };
            suite.report.row(&metric, "ms", Better::Lower, grpc, Some(rival));
            suite.report.ask(&metric, Asked::WithinTimes(3.0));
            for (index, sizes) in &theirs {
                let name = suite.rivals[*index].name.clone();
                let value = figure(&sizes[number].grpc);
                let rival = Rival { name: &name, value };
                suite.report.row(&metric, "ms", Better::Lower, grpc, Some(rival));
                let rival = Rival { name: &name, value: figure(&sizes[number].http) };
                let metric = suite.metric(&format!("body/{}/http/{word}", size.name));
                suite.report.row(&metric, "ms", Better::Lower, http, Some(rival));
            }
        }
    }
}

/// The latencies of each size, and what is wrong with the counts.
async fn sizes(gateway: &Gateway, cores: Cores) -> io::Result<(Vec<Size>, Vec<String>)> {
    println!("\n{}: 1 MiB and 8 MiB", gateway.name);
    let sink = Sink::bind().await?;
    let rig = Rig::start(gateway, "bodies", &SETUP, sink, cores).await?;
    let measured = measure(&rig).await;
    let (sizes, mut problems) = measured.map_err(|error| rig.explain(&error))?;
    problems.extend(rig.stop().await?);
    Ok((sizes, problems))
}

async fn measure(rig: &Rig) -> io::Result<(Vec<Size>, Vec<String>)> {
    let (mut sizes, mut problems) = (Vec::new(), Vec::new());
    let mut accepted = 0;
    for (name, mib) in [("1MiB", 1), ("8MiB", 8)] {
        let bodies = Arc::new(Bodies::new(mib * SPANS_IN_MIB, Encoding::None, false)?);
        let mut both = [Latencies::default(); 2];
        for (protocol, latencies) in [Protocol::Grpc, Protocol::Http].into_iter().zip(&mut both) {
            let (encoding, pace) = (Encoding::None, Pace::Closed);
            let load = Load { protocol, encoding, connections: 1, lanes: 1, pace };
            let clients = load.connect(rig.at.of(protocol)).await?;
            let generator = Generator::start(clients, load, &bodies);
            time::sleep(WARM_UP).await;
            generator.start_timing();
            time::sleep(WINDOW).await;
            let Ended { sent, micros, refusal } = generator.stop().await?;
            if let Some(refusal) = refusal {
                let protocol = protocol.name();
                problems.push(format!("{name} over {protocol} is not taken: {refusal}"));
            }
            accepted += sent.accepted;
            *latencies = Latencies::of(&micros);
            let Latencies { p50, p99, max, .. } = *latencies;
            let (protocol, count) = (protocol.name(), micros.len());
            println!(
                "  {name} over {protocol}: p50 {p50:.2}, p99 {p99:.2}, max {max:.2} ms ({count})"
            );
        }
        let [grpc, http] = both;
        sizes.push(Size { name, grpc, http });
    }
    rig.drain(accepted).await?;
    if let Some(books) = rig.books().await? {
        problems.extend(books.problems(accepted, rig.sink.spans()));
    }
    Ok((sizes, problems))
}
