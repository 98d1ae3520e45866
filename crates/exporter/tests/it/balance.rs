use std::collections::{HashMap, HashSet};
use std::time::Duration;

use teleflow_exporter::{
    AnyExporter, Balance, BalanceConfig, ExportError, Exporter, Retry, RetryConfig, Tally,
};
use teleflow_otlp::{Payload, Signal, log, span, tree};
use teleflow_testkit::sink::{Cue, Sink};

use crate::script::field;

const ENDPOINTS: [&str; 4] = ["a:4317", "b:4317", "c:4317", "d:4317"];

/// A payload with these trace ids, three to a scope and two scopes to a resource.
fn payload(signal: Signal, ids: &[Vec<u8>]) -> Payload {
    let id_field = if signal == Signal::Logs { 9 } else { 1 };
    let mut request = Vec::new();
    for (n, resource) in ids.chunks(6).enumerate() {
        let mut group = field(1, &field(1, &field(1, format!("resource {n}").as_bytes())));
        for scope in resource.chunks(3) {
            let mut items = field(1, &field(1, b"scope"));
            for id in scope {
                items.extend(field(2, &field(id_field, id)));
            }
            group.extend(field(2, &items));
        }
        request.extend(field(1, &group));
    }
    let payload = Payload::parse(signal, request.into()).unwrap();
    assert_eq!(payload.items(), ids.len() as u64);
    payload
}

fn ids(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(seed);
    // Several items a trace.
    (0..count)
        .map(|_| (u128::from(random.u64(..count as u64 / 4)) + 1).to_be_bytes().to_vec())
        .collect()
}

/// The trace ids that a sink has, in order.
fn kept(sink: &Sink) -> Vec<Vec<u8>> {
    let mut ids = Vec::new();
    for payload in sink.taken() {
        // Also checks that what was cut is a valid request, with the right count.
        let again = Payload::parse(payload.signal(), payload.to_bytes()).unwrap();
        assert_eq!(again.items(), payload.items());
        for segment in payload.segments() {
            for item in tree::resources(segment)
                .flat_map(tree::ResourceGroup::scopes)
                .flat_map(tree::ScopeGroup::items)
            {
                ids.push(match payload.signal() {
                    Signal::Logs => log::LogRecord::read(item.message).trace_id.to_vec(),
                    _ => span::TailFields::read(item.message).trace_id.to_vec(),
                });
            }
        }
    }
    ids
}

fn balance(sinks: &[Sink], config: BalanceConfig) -> Balance {
    let endpoints = ENDPOINTS.into_iter().zip(sinks);
    let endpoints = endpoints.map(|(name, sink)| (name.to_owned(), AnyExporter::new(sink.clone())));
    Balance::new(endpoints, config).unwrap()
}

fn sinks() -> [Sink; 4] {
    [Sink::new(), Sink::new(), Sink::new(), Sink::new()]
}

/// Where each trace is, and that it is in one place.
fn owners(sinks: &[Sink]) -> HashMap<Vec<u8>, usize> {
    let mut owners = HashMap::new();
    for (index, sink) in sinks.iter().enumerate() {
        for id in kept(sink) {
            assert_eq!(*owners.entry(id).or_insert(index), index, "a trace is torn");
        }
    }
    owners
}

#[tokio::test]
async fn a_trace_is_never_torn_and_nothing_is_lost() {
    for signal in [Signal::Traces, Signal::Logs] {
        let sinks = sinks();
        let balance = balance(&sinks, BalanceConfig::default());
        let mut sent = Vec::new();
        for seed in 0..10 {
            let ids = ids(seed, 200);
            let mut whole = payload(signal, &ids[..100]);
            whole.append(payload(signal, &ids[100..]));
            let result = balance.export(whole).await;
            assert_eq!(
                Tally::of(200, result.as_ref()),
                Tally { delivered: 200, ..Tally::default() }
            );
            sent.extend(ids);
        }
        owners(&sinks);
        let mut kept: Vec<_> = sinks.iter().flat_map(kept).collect();
        kept.sort();
        sent.sort();
        assert_eq!(kept, sent);
        assert!(sinks.iter().all(|sink| sink.items(signal) > 300));
        let items: u64 = balance.stats().iter().map(|endpoint| endpoint.items).sum();
        assert_eq!(items, 2000);
    }
}

#[tokio::test]
async fn the_resource_and_the_scope_go_with_every_item() {
    let sinks = sinks();
    let balance = balance(&sinks, BalanceConfig::default());
    balance.export(payload(Signal::Traces, &ids(1, 60))).await.unwrap();
    for sink in &sinks {
        for segment in sink.taken().iter().flat_map(|payload| payload.segments().to_vec()) {
            for resource in tree::resources(&segment) {
                assert_eq!(resource.resource().count(), 1);
                for scope in resource.scopes() {
                    let scope = scope.scope().next().unwrap();
                    assert_eq!(tree::Scope::read(scope).name, "scope");
                }
            }
        }
    }
}

#[tokio::test]
async fn two_gateways_with_the_same_endpoints_agree() {
    let (here, there) = (sinks(), sinks());
    let first = balance(&here, BalanceConfig::default());
    // In another order.
    let reversed = ENDPOINTS.into_iter().zip(&there).rev();
    let reversed = reversed.map(|(name, sink)| (name.to_owned(), AnyExporter::new(sink.clone())));
    let second = Balance::new(reversed, BalanceConfig::default()).unwrap();
    let payload = payload(Signal::Traces, &ids(7, 400));
    first.export(payload.clone()).await.unwrap();
    second.export(payload).await.unwrap();
    assert_eq!(owners(&here), owners(&there));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_is_left_out_and_only_its_traces_move() {
    let all = ids(3, 400);
    let before = sinks();
    balance(&before, BalanceConfig::default()).export(payload(Signal::Traces, &all)).await.unwrap();
    let before = owners(&before);

    let sinks = sinks();
    let config = RetryConfig { initial_interval: Duration::from_millis(100), ..Default::default() };
    let retry = Retry::new(balance(&sinks, BalanceConfig::default()), config).unwrap();
    sinks[2].cue((0..4).map(|_| Cue::Transient));
    let result = retry.export(payload(Signal::Traces, &all)).await;
    assert_eq!(Tally::of(400, result.as_ref()), Tally { delivered: 400, ..Tally::default() });
    assert!(retry.inner().stats()[2].is_out);

    // Everything arrived once; what was not the failed one's is where it was.
    let after = owners(&sinks);
    assert_eq!(after.len(), before.len());
    assert_eq!(sinks.iter().map(|sink| kept(sink).len()).sum::<usize>(), 400);
    let mut heirs = HashSet::new();
    for (id, owner) in &before {
        if *owner == 2 {
            heirs.insert(after[id]);
        } else {
            assert_eq!(after[id], *owner);
        }
    }
    assert_eq!(heirs, HashSet::from([0, 1, 3]));

    // The first probe fails, the second is well: its traces are back.
    for _ in 0..2 {
        tokio::time::advance(Duration::from_millis(10_001)).await;
        retry.export(payload(Signal::Traces, &all)).await.unwrap();
    }
    assert!(!retry.inner().stats()[2].is_out);
    let taken = sinks[2].taken().len();
    retry.export(payload(Signal::Traces, &all)).await.unwrap();
    assert_eq!(sinks[2].taken().len(), taken + 1);
}

#[tokio::test(start_paused = true)]
async fn while_all_are_out_nothing_is_sent_and_it_may_be_tried_again() {
    let sinks = sinks();
    let balance = balance(&sinks, BalanceConfig::default());
    let payload = payload(Signal::Traces, &ids(1, 100));
    for sink in &sinks {
        sink.cue((0..3).map(|_| Cue::Transient));
    }
    for _ in 0..3 {
        let error = balance.export(payload.clone()).await.unwrap_err();
        assert!(error.is_retryable(), "they all failed alike: {error:?}");
    }
    let error = balance.export(payload.clone()).await.unwrap_err();
    assert!(matches!(error, ExportError::CircuitOpen { .. }), "{error:?}");
    let retry_after = error.retry_after().unwrap();
    assert!((10_000..=10_001).contains(&retry_after.as_millis()), "{retry_after:?}");
    assert!(sinks.iter().all(|sink| sink.attempts() == 3));
}

#[tokio::test]
async fn what_belongs_to_no_trace_goes_to_one_after_the_other() {
    let sinks = sinks();
    let balance = balance(&sinks, BalanceConfig::default());
    let metrics = field(1, &field(2, &field(2, &field(5, &field(1, &[])))));
    let metrics = Payload::parse(Signal::Metrics, metrics.into()).unwrap();
    let logs = payload(Signal::Logs, &vec![Vec::new(); 5]);
    for payload in [metrics, logs] {
        for _ in 0..8 {
            balance.export(payload.clone()).await.unwrap();
        }
        let items = payload.items();
        assert!(sinks.iter().all(|sink| sink.items(payload.signal()) == 2 * items));
    }
    // In one piece, and so not copied.
    let kept = sinks[0].taken();
    assert!(kept.iter().all(|payload| payload.segments().len() == 1));
}

#[tokio::test]
async fn endpoints_need_names_of_their_own() {
    let endpoint = |name: &str| (name.to_owned(), AnyExporter::new(Sink::new()));
    let config = BalanceConfig::default();
    assert!(Balance::new([], config).is_err());
    assert!(Balance::new([endpoint("a"), endpoint("a")], config).is_err());
    assert!(Balance::new([endpoint("a"), endpoint("b")], config).is_ok());
}
