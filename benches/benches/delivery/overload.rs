//! Half of what it can take, all of it, and four times as much: what is refused, with what hint,
//! and whether anything is lost that was accepted.

use std::time::Duration;

use teleflow_benches::client::Protocol;
use teleflow_benches::encoding::Encoding;
use teleflow_benches::load::Pace;
use teleflow_benches::peer::{Bounds, Mode};
use teleflow_benches::report::{Asked, Better, Rival};
use teleflow_benches::suite::{Outcome, Plan, Suite};
use teleflow_benches::trial::{Case, Measured};

/// Offered, in percent of the capacity.
const LEVELS: [u32; 3] = [50, 100, 400];

/// How late a request may be before the client gives it up.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much it may hold in these cases.
const BOUNDS: Bounds = Bounds { traces: 256 << 20, queue: 64 << 20 };

/// Resident memory against the sum of all limits, at most: a quarter more, for the program itself and
/// for what the allocator keeps between buffers.
const RESIDENT: f64 = 1.25;

/// What the slow sink takes, in spans a second.
const SLOW: f64 = 200_000.0;

/// The share that the sampler keeps: a tenth of the traces must be kept, and a tenth of the rest.
const KEPT: f64 = 0.19;

pub(crate) async fn run(suite: &mut Suite, quick: bool) {
    let plan = if quick { Plan::seconds([3, 1], [3, 3]) } else { Plan::seconds([3, 2], [8, 6]) };

    // Compressed requests cost the program much and the generator, which has them ready, little: so
    // it can offer four times what the program takes.
    suite.chapter("load: what its core can take");
    let mut case = bounded(&plan, Mode::Pass, Protocol::Http, 512, Encoding::Gzip);
    case.load.connections = 256;
    "load/core/capacity".clone_into(&mut case.name);
    let outcome = suite.measure(&case, &[]).await;
    let capacity = outcome.ours.as_ref().map(Measured::rate);
    suite.row("load/core/capacity", "spans/s", Better::Higher, &outcome, Measured::rate);
    if let Some(capacity) = capacity {
        for percent in if quick { &LEVELS[2..] } else { &LEVELS } {
            level(suite, &case, "load/core", *percent, capacity).await;
        }
    }

    // A destination that is slower than the program; its rate is the capacity.
    for mode in [Mode::Pass, Mode::Tail] {
        let name = format!("load/slow_sink/{}", mode.name());
        suite.chapter(&format!("{name}: what its destination can take"));
        // More requests at a time than it has room for, so that it has to refuse some.
        let (protocol, connections, lanes, kept) = match mode {
            Mode::Pass => (Protocol::Grpc, 16, 100, 1.0),
            Mode::Tail => (Protocol::Http, 1600, 1, KEPT),
        };
        let mut case = bounded(&plan, mode, protocol, 512, Encoding::None);
        (case.load.connections, case.load.lanes) = (connections, lanes);
        case.sink = Some(SLOW * kept);
        for percent in if quick { &LEVELS[2..] } else { &LEVELS } {
            level(suite, &case, &name, *percent, SLOW).await;
        }
    }
    suite.report.note(
        "load: not_sent is what a client gives up that has waited a second for a free connection",
    );
}

fn bounded(plan: &Plan, mode: Mode, protocol: Protocol, spans: usize, encoding: Encoding) -> Case {
    let mut case = plan.case(mode, protocol, spans, encoding);
    case.setup.bounds = Some(BOUNDS);
    case
}

async fn level(suite: &mut Suite, case: &Case, name: &str, percent: u32, capacity: f64) {
    let rate = capacity * f64::from(percent) / 100.0;
    let mut case = case.clone();
    case.name = format!("{name}/{percent}");
    case.load.pace = Pace::Impatient { rate, patience: PATIENCE };
    let outcome = suite.measure(&case, &[]).await;
    rows(suite, &case, &outcome, rate);
}

/// What came of a case in which `rate` spans a second were offered.
fn rows(suite: &mut Suite, case: &Case, outcome: &Outcome, rate: f64) {
    let name = &case.name;
    let metric = |word: &str| format!("{name}/{word}");
    let mut row = |word, unit, better, figure: &dyn Fn(&Measured) -> f64| {
        suite.row(&metric(word), unit, better, outcome, figure);
    };
    row("offered", "spans/s", Better::Higher, &|_| rate);
    row("accepted", "spans/s", Better::Higher, &Measured::rate);
    row("refused", "spans/s", Better::Lower, &|m| m.sent.refused as f64 / m.elapsed);
    row("refused_without_hint", "%", Better::Lower, &|m| {
        let without = m.total.refused - m.total.hinted;
        if without == 0 { 0.0 } else { 100.0 * without as f64 / m.total.refused as f64 }
    });
    // What found no room at the gateway's door, nor in the connections.
    row("not_sent", "spans/s", Better::Lower, &|m| {
        (rate - m.sent.ended() as f64 / m.elapsed).max(0.0)
    });
    row("lost", "spans", Better::Lower, &|m| m.lost() as f64);
    suite.latencies(name, outcome);
    // Each lane of HTTP/1.1 has a connection of its own; of these cases none has more than one.
    let bound = case.setup.bound(case.load.protocol, case.load.connections);
    let (Some(ours), Some(bound)) = (&outcome.ours, bound) else { return };
    let value = bound as f64 * RESIDENT / f64::from(1 << 20);
    let metric = suite.metric(&format!("{name}/peak_rss"));
    let bound =
        Rival { name: "the limits of what it holds and its windows, and a quarter more", value };
    suite.report.row(&metric, "MiB", Better::Lower, ours.peak_mib(), Some(bound));
    suite.report.ask(metric, Asked::Ratio(1.0));
    suite.report.ask(suite.metric(&format!("{name}/lost")), Asked::AtMost(0.0));
}
