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

/// What the program may take beside the telemetry that it holds, in bytes.
const ITSELF: u64 = 64 << 20;

/// What the slow sink takes, in spans a second.
const SLOW: f64 = 100_000.0;

/// The share that the sampler keeps: a tenth of the traces must be kept, and a tenth of the rest.
const KEPT: f64 = 0.19;

pub(crate) async fn run(suite: &mut Suite, quick: bool) {
    let plan = if quick { Plan::seconds([3, 1], [3, 3]) } else { Plan::seconds([3, 2], [8, 6]) };

    // Compressed requests cost the program much and the generator, which has them ready, little: so
    // it can offer four times what the program takes.
    suite.chapter("load: what its core can take");
    let mut case = bounded(&plan, Mode::Pass, Protocol::Http, 512, Encoding::Gzip);
    case.load.connections = 32;
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
        let mut case = bounded(&plan, mode, Protocol::Grpc, 100, Encoding::None);
        case.load.lanes = 32;
        let (sink, capacity) = match mode {
            Mode::Pass => (SLOW, SLOW),
            Mode::Tail => (SLOW * KEPT, SLOW),
        };
        case.sink = Some(sink);
        for percent in if quick { &LEVELS[2..] } else { &LEVELS } {
            level(suite, &case, &name, *percent, capacity).await;
        }
    }
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
    let Some(ours) = &outcome.ours else { return };
    rows(suite, &case, &outcome);
    let offered = ours.sent.offered() as f64 / ours.elapsed;
    if offered < 0.95 * rate {
        let share = 100.0 * offered / capacity;
        let note = format!("{}: only {share:.0} % of the capacity could be offered", case.name);
        suite.report.note(note);
    }
}

fn rows(suite: &mut Suite, case: &Case, outcome: &Outcome) {
    let name = &case.name;
    type Figure = fn(&Measured) -> f64;
    let figures: [(&str, &'static str, Better, Figure); 6] = [
        ("offered", "spans/s", Better::Higher, |m| m.sent.offered() as f64 / m.elapsed),
        ("accepted", "spans/s", Better::Higher, Measured::rate),
        ("refused", "spans/s", Better::Lower, |m| m.sent.refused as f64 / m.elapsed),
        ("refused_with_hint", "%", Better::Higher, |m| match m.total.refused {
            0 => 100.0,
            refused => 100.0 * m.total.hinted as f64 / refused as f64,
        }),
        ("given_up_by_client", "spans/s", Better::Lower, |m| m.sent.given_up as f64 / m.elapsed),
        ("lost", "spans", Better::Lower, |m| m.lost() as f64),
    ];
    for (word, unit, better, figure) in figures {
        suite.row(&format!("{name}/{word}"), unit, better, outcome, figure);
    }
    suite.latencies(name, outcome);
    let (Some(ours), Some(bound)) = (&outcome.ours, case.setup.bound()) else { return };
    let value = (bound + ITSELF) as f64 / f64::from(1 << 20);
    let metric = suite.metric(&format!("{name}/peak_rss"));
    let bound = Rival { name: "the bounds of what it holds, and 64 MiB for itself", value };
    suite.report.row(&metric, "MiB", Better::Lower, ours.peak_mib(), Some(bound));
    suite.report.ask(metric, Asked::Ratio(1.0));
    suite.report.ask(suite.metric(&format!("{name}/lost")), Asked::AtMost(0.0));
}
