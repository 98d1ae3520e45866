//! Everything around moody destinations: whatever they do, the books balance and nothing that was
//! taken is sent again.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use teleflow_concurrency::BreakerConfig;
use teleflow_exporter::{
    AdaptiveConcurrency, AdaptiveConcurrencyConfig, AnyExporter, Balance, BalanceConfig,
    CircuitBreaker, Delivered, ExportError, Exporter, Failover, Retry, RetryConfig, SplitTooLarge,
    Tally, Timeout,
};
use teleflow_otlp::{Code, Payload, Signal, Status, span, tree};

use crate::script::field;

/// How often each span was settled by a destination: taken or refused for good.
type Settled = Arc<Mutex<HashMap<Vec<u8>, u32>>>;

/// Does as its mood is, and says so: no answer of it is lost.
#[derive(Debug)]
struct Moody {
    random: Mutex<fastrand::Rng>,
    max_bytes: usize,
    settled: Settled,
}

impl Moody {
    fn settle(&self, payload: &Payload) {
        let mut settled = self.settled.lock().unwrap();
        for segment in payload.segments() {
            for item in tree::resources(segment)
                .flat_map(tree::ResourceGroup::scopes)
                .flat_map(tree::ScopeGroup::items)
            {
                let id = span::TailFields::read(item.message).trace_id.to_vec();
                *settled.entry(id).or_default() += 1;
            }
        }
    }
}

impl Exporter for Moody {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let (mood, wait) = {
            let mut random = self.random.lock().unwrap();
            (random.u32(..100), random.u64(1..50))
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if payload.bytes() > self.max_bytes {
            return Err(ExportError::Http { status: 413, retry_after: None });
        }
        match mood {
            0..50 => {
                self.settle(&payload);
                Ok(Delivered::ALL)
            }
            50..60 => {
                self.settle(&payload);
                Ok(Delivered { rejected: u64::from(mood), message: Some("old".into()) })
            }
            60..75 => Err(ExportError::Http {
                status: 503,
                retry_after: Some(Duration::from_secs(u64::from(mood) - 60)),
            }),
            75..85 => Err(ExportError::Unreachable("not there".into())),
            85..92 => {
                let status = Status::new(Code::ResourceExhausted, "too much of everything");
                self.settle(&payload);
                Err(ExportError::Status(status))
            }
            92..97 => {
                self.settle(&payload);
                Err(ExportError::Http { status: 400, retry_after: None })
            }
            _ => {
                let delay = Some(Duration::from_millis(700));
                let status = Status::new(Code::ResourceExhausted, "");
                Err(ExportError::Status(Status { retry_delay: delay, ..status }))
            }
        }
    }
}

/// Spans with trace ids of their own, some of them too large for any destination.
fn payload(random: &mut fastrand::Rng, next: &mut u128) -> Payload {
    let mut payload = Payload::empty(Signal::Traces);
    for _ in 0..random.usize(1..4) {
        let mut items = Vec::new();
        for _ in 0..random.usize(1..30) {
            *next += 1;
            let mut span = field(1, &next.to_be_bytes());
            let size = if random.u32(..100) == 0 { 2000 } else { random.usize(1..60) };
            span.extend(field(5, &vec![b'x'; size]));
            items.extend(field(2, &span));
        }
        let request = field(1, &field(2, &items));
        payload.append(Payload::parse(Signal::Traces, request.into()).unwrap());
    }
    payload
}

fn retry(exporter: impl Exporter, seconds: u64) -> impl Exporter {
    let config = RetryConfig {
        initial_interval: Duration::from_millis(200),
        max_elapsed_time: Duration::from_secs(seconds),
        ..RetryConfig::default()
    };
    Retry::new(exporter, config).unwrap()
}

/// Stacks of wrappers over destinations that a function makes.
fn stacks(destination: impl Fn() -> Moody) -> Vec<AnyExporter> {
    let breaker = |exporter| CircuitBreaker::new(exporter, BreakerConfig::default()).unwrap();
    let adaptive = |exporter| {
        let initial = NonZeroUsize::new(4).unwrap();
        let config = AdaptiveConcurrencyConfig { initial, ..Default::default() };
        AdaptiveConcurrency::new(exporter, config).unwrap()
    };
    let balance = |wrap: &dyn Fn(Moody) -> AnyExporter| {
        let endpoints = ["a", "b", "c"].map(|name| (name.to_owned(), wrap(destination())));
        Balance::new(endpoints, BalanceConfig::default()).unwrap()
    };
    let failover = |destinations: [AnyExporter; 2]| {
        Failover::new(destinations, Duration::from_secs(5)).unwrap()
    };
    vec![
        AnyExporter::new(SplitTooLarge::new(retry(destination(), 60))),
        AnyExporter::new(retry(SplitTooLarge::new(destination()), 60)),
        AnyExporter::new(SplitTooLarge::new(retry(breaker(adaptive(destination())), 300))),
        AnyExporter::new(retry(balance(&|moody| AnyExporter::new(SplitTooLarge::new(moody))), 60)),
        AnyExporter::new(retry(
            balance(&|moody| AnyExporter::new(SplitTooLarge::new(retry(moody, 2)))),
            10,
        )),
        AnyExporter::new(retry(
            failover([
                AnyExporter::new(SplitTooLarge::new(adaptive(destination()))),
                AnyExporter::new(balance(&|moody| AnyExporter::new(SplitTooLarge::new(moody)))),
            ]),
            30,
        )),
        AnyExporter::new(SplitTooLarge::new(retry(
            Timeout::new(destination(), Duration::from_secs(1)),
            5,
        ))),
    ]
}

#[tokio::test(start_paused = true)]
async fn whatever_destinations_do_the_books_balance_and_nothing_settled_is_sent_again() {
    for seed in 0..30 {
        let settled = Settled::default();
        let mut random = fastrand::Rng::with_seed(seed);
        let seeds = Mutex::new(random.fork());
        let destination = || Moody {
            random: Mutex::new(seeds.lock().unwrap().fork()),
            max_bytes: 1500,
            settled: Arc::clone(&settled),
        };
        let mut next = 0;
        let mut totals = Tally::default();
        let mut sent = 0;
        for stack in stacks(destination) {
            let payloads: Vec<_> = (0..20).map(|_| payload(&mut random, &mut next)).collect();
            let items: Vec<_> = payloads.iter().map(Payload::items).collect();
            let results = join_all(payloads.into_iter().map(|one| stack.export(one))).await;
            for (items, result) in items.into_iter().zip(results) {
                let tally = Tally::of(items, result.as_ref());
                assert_eq!(tally.items(), items, "seed {seed}: {result:?}");
                totals.delivered += tally.delivered;
                totals.rejected += tally.rejected;
                sent += items;
            }
        }
        let settled = settled.lock().unwrap();
        let twice = settled.values().filter(|times| **times > 1).count();
        assert_eq!(twice, 0, "seed {seed}: settled twice");
        // What destinations settled is what the books call delivered or rejected.
        assert_eq!(settled.len() as u64, totals.delivered + totals.rejected, "seed {seed}");
        assert!(totals.delivered > sent / 3 && totals.rejected > 0, "seed {seed}: {totals:?}");
    }
}
