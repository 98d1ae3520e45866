//! Two gateways that share three backends by trace, while one of these joins, leaves or fails.

use std::collections::{HashMap, HashSet};
use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use teleflow::exporter::{
    AnyExporter, Balance, BalanceConfig, Delivered, ExportError, Exporter, OnFull, QueueConfig,
    Retry, RetryConfig,
};
use teleflow::{LaneConfig, Payload, Pipeline, Sending, Signal, batcher};
use teleflow_testkit::telemetry::Telemetry;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::link::Link;
use crate::spans::{of_traces, traces};
use crate::world::pass;

const NAMES: [&str; 3] = ["a:4317", "b:4317", "c:4317"];

/// A backend that knows which traces it has. Clones are the same.
#[derive(Clone, Debug)]
struct Shelf {
    link: Link,
    traces: Arc<Mutex<HashSet<u128>>>,
}

/// What happened in some worlds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Traces that were looked at, in times in which the ring did not change.
    traces: u64,
    /// Those that moved to or from a backend that had joined, left or failed.
    moved: u64,
    /// Items of requests after which the sender did not know whether they had arrived.
    uncertain: u64,
}

/// Which of [`NAMES`] are in the ring.
type Members = Vec<usize>;

pub(crate) fn live(seed: u64) -> Seen {
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        if rng.bool() { members_come_and_go(rng).await } else { one_fails(rng).await }
    })
}

/// Where the ring is another one, gateways are drained and started anew. Requests and answers are
/// lost and links are cut, and all of it is sent again until it arrives.
async fn members_come_and_go(mut rng: Rng) -> Seen {
    let shelves = NAMES.map(|_| Shelf::new(&mut rng));
    // So many failures never come together: the ring is what it is told to be.
    let config =
        BalanceConfig { failures: NonZeroU16::MAX, seed: rng.u64(..), ..Default::default() };
    let gone = rng.usize(..NAMES.len());
    let without: Members = (0..NAMES.len()).filter(|&member| member != gone).collect();
    let (mut seen, mut pool) = (Seen::default(), Vec::new());
    let mut before: HashMap<u128, usize> = HashMap::new();
    for members in [without.clone(), (0..NAMES.len()).collect(), without] {
        // Some traces go on while the ring changes.
        rng.shuffle(&mut pool);
        pool.truncate(10);
        pool.extend((0..rng.usize(5..20)).map(|_| rng.u128(..)));
        let gateways = [
            start(&mut rng, &shelves, &members, config).await,
            start(&mut rng, &shelves, &members, config).await,
        ];
        let cut = async |rng: &mut Rng| {
            let time = Duration::from_millis(rng.u64(..20_000));
            shelves[rng.usize(..NAMES.len())].link.cut(time);
        };
        feed(&mut rng, &gateways, &pool, cut).await;
        end(gateways).await;

        let mut now = HashMap::new();
        for (member, shelf) in shelves.iter().enumerate() {
            for trace in shelf.traces.lock().unwrap().drain() {
                assert!(members.contains(&member), "{member} is not in the ring");
                let other = now.insert(trace, member);
                assert_eq!(other, None, "trace {trace:x} is also at {member}");
            }
        }
        for (trace, &member) in &now {
            if let Some(&other) = before.get(trace).filter(|&&other| other != member) {
                // To the one that joined, or from the one that left.
                assert!(member == gone || other == gone, "{trace:x}: {other} {member}");
                seen.moved += 1;
            }
        }
        seen.traces += now.len() as u64;
        before = now;
    }
    seen.uncertain = shelves.iter().map(|shelf| shelf.link.uncertain()).sum();
    seen
}

/// One backend cannot be reached for a while. Its traces go to others, each to one, and no other
/// trace moves.
async fn one_fails(mut rng: Rng) -> Seen {
    let shelves = NAMES.map(|_| Shelf::new(&mut rng));
    shelves.iter().for_each(|shelf| shelf.link.heal());
    let config = BalanceConfig { seed: rng.u64(..), ..BalanceConfig::default() };
    let failing = rng.usize(..NAMES.len());
    let all: Members = (0..NAMES.len()).collect();
    let pool: Vec<_> = (0..rng.usize(10..40)).map(|_| rng.u128(..)).collect();
    let gateways = [
        start(&mut rng, &shelves, &all, config).await,
        start(&mut rng, &shelves, &all, config).await,
    ];
    let cut = async |rng: &mut Rng| {
        shelves[failing].link.cut(Duration::from_secs(rng.u64(1..40)));
    };
    feed(&mut rng, &gateways, &pool, cut).await;
    end(gateways).await;

    let mut seen = Seen::default();
    for trace in &pool {
        let has = |member: &usize| shelves[*member].traces.lock().unwrap().contains(trace);
        let places: Members = all.iter().copied().filter(has).collect();
        let others = places.iter().filter(|&&member| member != failing).count();
        assert!(others <= 1, "trace {trace:x} is at {places:?}, and {failing} failed");
        seen.traces += u64::from(!places.is_empty());
        seen.moved += u64::from(places.len() > 1);
    }
    seen.uncertain = shelves.iter().map(|shelf| shelf.link.uncertain()).sum();
    seen
}

async fn start(
    rng: &mut Rng,
    shelves: &[Shelf; 3],
    members: &Members,
    config: BalanceConfig,
) -> Pipeline {
    let mut endpoints: Vec<_> = members
        .iter()
        .map(|&member| (NAMES[member].to_owned(), AnyExporter::new(shelves[member].clone())))
        .collect();
    // The order in which somebody wrote them down is not the same everywhere.
    rng.shuffle(&mut endpoints);
    let retry = RetryConfig {
        initial_interval: Duration::from_millis(rng.u64(10..1000)),
        max_elapsed_time: Duration::ZERO,
        ..RetryConfig::default()
    };
    let exporter = Retry::new(Balance::new(endpoints, config).unwrap(), retry).unwrap();
    let batch = rng.bool().then(|| batcher::Config {
        min_items: rng.u64(1..60),
        timeout: Duration::from_millis(rng.u64(1..2000)),
        ..batcher::Config::default()
    });
    let queue = QueueConfig {
        num_consumers: NonZeroUsize::new(rng.usize(1..5)).unwrap(),
        on_full: OnFull::Wait,
        ..QueueConfig::default()
    };
    let lane = LaneConfig::new("traces", Signal::Traces).from("in").to("ring");
    let builder =
        Pipeline::builder().inlet("in").exporter("ring", exporter, Sending { queue, batch });
    builder.lane(lane).start().await.unwrap()
}

/// Sends spans of these traces in, through either gateway.
async fn feed(
    rng: &mut Rng,
    gateways: &[Pipeline; 2],
    pool: &[u128],
    mut go_wrong: impl AsyncFnMut(&mut Rng),
) {
    let mut telemetry = Telemetry::new(rng.u64(..));
    for _ in 0..rng.usize(20..60) {
        let payload = of_traces(&mut telemetry, rng, pool);
        let inlet = gateways[rng.usize(..2)].inlet("in").unwrap();
        inlet.send(payload).await.unwrap();
        if rng.u8(..15) == 0 {
            go_wrong(rng).await;
        }
        pass(Duration::from_millis(rng.u64(..1500))).await;
    }
}

/// Lets all that is held arrive.
async fn end(gateways: [Pipeline; 2]) {
    for gateway in gateways {
        let books = gateway.shutdown(Instant::now() + Duration::from_secs(1_000_000)).await;
        assert!(books.balance(), "{books}");
        let is_there = |account: &teleflow::Account| account.accepted == account.delivered;
        assert!(books.accounts.iter().all(is_there), "{books}");
    }
}

// === impl Shelf ===

impl Shelf {
    fn new(rng: &mut Rng) -> Self {
        Self { link: Link::new(rng), traces: Arc::default() }
    }
}

impl Exporter for Shelf {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let take = async {
            self.traces.lock().unwrap().extend(traces(&payload));
            Ok(Delivered::ALL)
        };
        self.link.carry(payload.items(), take).await
    }
}

// === impl Seen ===

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.traces += other.traces;
        self.moved += other.moved;
        self.uncertain += other.uncertain;
    }

    /// Whether everything that can happen did.
    pub(crate) fn is_rich(&self) -> bool {
        [self.traces, self.moved, self.uncertain].iter().all(|&count| count > 500)
    }
}
