//! The router against a model that decodes everything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::ScopeLogs;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use teleflow_otlp::{Ack, Answer, Payload, Signal, validate};
use teleflow_sampler::{Digest, InvalidShards, Router, RouterStats};
use teleflow_testkit::mangle::mangle;
use teleflow_testkit::telemetry::Telemetry;

use crate::{payload, spans_of, traffic};

fn router(shards: usize) -> Router {
    Router::new(shards, 0x5eed).unwrap()
}

fn route(router: &mut Router, payload: Payload) -> Vec<(usize, Payload)> {
    let mut parts = Vec::new();
    router.route(payload, &mut parts);
    assert!(parts.windows(2).all(|pair| pair[0].0 < pair[1].0), "at most one part a shard");
    parts
}

/// The same, for samplers that get their spans read.
fn route_read(router: &mut Router, whole: Payload) -> Vec<(usize, Payload)> {
    let payload = |(shard, digest): (usize, Digest)| {
        let items = digest.items();
        let mut payloads = digest.into_payloads();
        let payload = payloads.next()?;
        assert!(payloads.next().is_none(), "at most one part a shard");
        assert_eq!(payload.items(), items);
        Some((shard, payload))
    };
    digests(router, whole).into_iter().enumerate().filter_map(payload).collect()
}

/// What each shard gets.
fn digests(router: &mut Router, payload: Payload) -> Vec<Digest> {
    let shards = router.shards();
    let mut digests: Vec<_> = (0..shards).map(|_| Digest::new()).collect();
    router.digest(payload, &mut digests);
    digests
}

/// Each item with its resource and scope, encoded, and its trace id.
fn items_of(signal: Signal, request: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    if signal == Signal::Traces {
        return spans_of(ExportTraceServiceRequest::decode(request).unwrap());
    }
    let mut items = Vec::new();
    for mut resource in ExportLogsServiceRequest::decode(request).unwrap().resource_logs {
        for mut scope in std::mem::take(&mut resource.scope_logs) {
            for record in std::mem::take(&mut scope.log_records) {
                let (mut one, id) = (resource.clone(), record.trace_id.clone());
                one.scope_logs.push(ScopeLogs { log_records: vec![record], ..scope.clone() });
                items.push((id, one.encode_to_vec()));
            }
        }
    }
    items
}

/// The shard of an item, where it has a trace.
fn owner(router: &Router, id: &[u8]) -> Option<usize> {
    let id = <[u8; 16]>::try_from(id).ok().filter(|id| *id != [0; 16])?;
    Some(router.shard_of(id))
}

/// Routes a payload in both ways, and checks the parts against the whole.
fn check(router: &mut Router, payload: Payload, owners: &mut HashMap<Vec<u8>, usize>) {
    let parts = route_read(&mut router.clone(), payload.clone());
    check_parts(router, &payload, parts, owners);
    let parts = route(router, payload.clone());
    check_parts(router, &payload, parts, owners);
}

fn check_parts(
    router: &Router,
    payload: &Payload,
    parts: Vec<(usize, Payload)>,
    owners: &mut HashMap<Vec<u8>, usize>,
) {
    let signal = payload.signal();
    let whole = items_of(signal, &payload.to_bytes());
    let mut expected = BTreeMap::new();
    for (_, item) in &whole {
        *expected.entry(item.clone()).or_insert(0) += 1;
    }
    let mut came = BTreeMap::new();
    for (shard, part) in parts {
        let bytes = part.to_bytes();
        assert_eq!(validate(signal, &bytes), Ok(part.items()));
        let items = items_of(signal, &bytes);
        let is_owned = |(id, _): &&(Vec<u8>, Vec<u8>)| owner(router, id) == Some(shard);
        assert!(
            items
                .iter()
                .filter(|(id, _)| owner(router, id).is_some())
                .eq(whole.iter().filter(is_owned)),
            "a shard has just its traces, and in their order"
        );
        for (id, item) in items {
            *came.entry(item).or_insert(0) += 1;
            if owner(router, &id).is_some() {
                assert_eq!(*owners.entry(id).or_insert(shard), shard, "a trace is in two shards");
            }
        }
    }
    assert!(came == expected, "items were lost, made or changed");
}

#[test]
fn all_items_come_out_as_they_were_and_each_trace_in_one_shard() {
    let (mut whole, mut parted) = (0, 0);
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut router, mut owners) = (router(rng.usize(2..=9)), HashMap::new());
        let mut telemetry = Telemetry::new(seed);
        let mut merged = Payload::empty(Signal::Traces);
        for request in traffic(seed, 30, 20) {
            merged.append(payload(&request));
            if rng.bool() {
                let payload = std::mem::replace(&mut merged, Payload::empty(Signal::Traces));
                check(&mut router, payload, &mut owners);
            }
            let logs = telemetry.request(Signal::Logs, 6);
            let logs = Payload::parse(Signal::Logs, logs.into()).unwrap();
            check(&mut router, logs, &mut owners);
        }
        let stats = router.stats();
        assert!(stats.torn == 0 && stats.without_trace > 0, "{stats:?}");
        assert!(owners.values().collect::<HashSet<_>>().len() > 1);
        (whole, parted) = (whole + stats.whole, parted + stats.parted);
    }
    assert!(whole > 5 && parted > 100, "{whole} requests passed whole, {parted} were parted");
}

#[test]
fn damaged_requests_that_are_valid_still_lose_nothing() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut router = router(3);
    let (mut telemetry, mut valid) = (Telemetry::new(5), 0);
    for _ in 0..3000 {
        let signal = if rng.bool() { Signal::Traces } else { Signal::Logs };
        let (bytes, _) = mangle(&mut rng, &telemetry.request(signal, 4));
        // What a trace id is, changed bytes decide: it is looked at as prost reads it.
        if let Ok(payload) = Payload::parse(signal, bytes.into()) {
            check(&mut router, payload, &mut HashMap::new());
            valid += 1;
        }
    }
    assert!(valid > 500, "{valid}");
}

/// A request of spans with these trace ids, in a row below one resource.
fn of_ids(ids: impl IntoIterator<Item = [u8; 16]>) -> ExportTraceServiceRequest {
    let span = |id: [u8; 16]| Span { trace_id: id.to_vec(), ..Span::default() };
    let spans = ids.into_iter().map(span).collect();
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

/// Ids that all go to a shard.
fn ids_for(router: &Router, shard: usize) -> impl Iterator<Item = [u8; 16]> {
    (1u128..).map(u128::to_be_bytes).filter(move |id| router.shard_of(*id) == shard)
}

#[test]
fn what_belongs_to_one_shard_passes_without_a_copy() {
    let mut router = router(8);
    let ids: Vec<_> = ids_for(&router, 5).take(4).collect();
    let whole = payload(&of_ids(ids));
    let place = whole.segments()[0].as_ptr();
    let parts = route(&mut router, whole);
    assert_eq!((parts.len(), parts[0].0, parts[0].1.segments().len()), (1, 5, 1));
    assert_eq!(parts[0].1.segments()[0].as_ptr(), place);

    // So does each of several requests, whatever the others do.
    let mut merged = Payload::empty(Signal::Traces);
    let mut places = Vec::new();
    for shard in [2, 7, 2] {
        let request = payload(&of_ids(ids_for(&router, shard).take(3)));
        places.push(request.segments()[0].as_ptr());
        merged.append(request);
    }
    let parts = route(&mut router, merged);
    let came: Vec<_> = parts
        .iter()
        .map(|(shard, part)| {
            (*shard, part.segments().iter().map(|segment| segment.as_ptr()).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(came, [(2, vec![places[0], places[2]]), (7, vec![places[1]])]);
    let stats = RouterStats { whole: 4, ..RouterStats::default() };
    assert_eq!(router.stats(), stats);
}

#[test]
fn what_is_read_is_looked_at_once_and_counted_as_ever() {
    let mut router = router(8);
    let ids: Vec<_> = ids_for(&router, 5).take(4).collect();
    let whole = payload(&of_ids(ids));
    let bytes = whole.bytes();
    let all = digests(&mut router, whole);
    let digest = &all[5];
    assert!(digest.is_read());
    assert_eq!((digest.payloads(), digest.items(), digest.bytes()), (1, 4, bytes));
    assert_eq!(all.iter().map(Digest::payloads).sum::<usize>(), 1);

    // Of several requests, and of what is too much to keep books of, the samplers make do.
    let mut merged = payload(&of_ids(ids_for(&router, 1).take(2)));
    merged.append(payload(&of_ids(ids_for(&router, 1).take(3))));
    let many = payload(&of_ids(ids_for(&router, 2).take(5000)));
    let logs = Bytes::from(Telemetry::new(1).request(Signal::Logs, 5));
    let logs = Payload::parse(Signal::Logs, logs).unwrap();
    for payload in [merged, many, logs, payload_of_nothing()] {
        let items = payload.items();
        let all = digests(&mut router, payload);
        assert!(all.iter().all(|digest| digest.is_empty() || !digest.is_read()));
        assert_eq!(all.iter().map(Digest::items).sum::<u64>(), items);
    }

    // A long resource is not repeated for every shard: the way of `route` is taken, which tears.
    let long = below(100_000, [random_ids(&mut fastrand::Rng::with_seed(1), 20)]);
    let long = payload(&ExportTraceServiceRequest { resource_spans: vec![long] });
    let (mut one, mut other) = (router.clone(), router);
    let torn = route(&mut one, long.clone());
    let read = route_read(&mut other, long);
    assert_eq!(one.stats(), other.stats());
    assert!(one.stats().torn > 0);
    for ((shard, part), (other, read)) in torn.into_iter().zip(read) {
        assert_eq!((shard, part.to_bytes()), (other, read.to_bytes()));
    }
}

#[test]
fn what_is_parted_holds_none_of_its_request() {
    let mut router = router(2);
    let whole = payload(&of_ids((1..100u128).map(u128::to_be_bytes)));
    let within = whole.segments()[0].as_ptr_range();
    let parts = route(&mut router, whole);
    assert_eq!(parts.len(), 2);
    for (_, part) in &parts {
        let [segment] = part.segments() else { panic!("one request became one a shard") };
        assert!(!within.contains(&segment.as_ptr()));
    }
}

#[test]
fn one_shard_gets_everything_unseen_and_metrics_go_to_the_first() {
    let mut telemetry = Telemetry::new(1);
    let mut one = router(1);
    for signal in Signal::ALL {
        // Not even a request.
        let payload = Payload::trusted(signal, Bytes::from_static(b"\xff\xff"), 3);
        let parts = route(&mut one, payload);
        assert_eq!((parts.len(), parts[0].0, parts[0].1.bytes()), (1, 0, 2));
    }
    assert_eq!(one.stats(), RouterStats::default());
    let metrics = Bytes::from(telemetry.request(Signal::Metrics, 5));
    let payload = Payload::parse(Signal::Metrics, metrics.clone()).unwrap();
    let parts = route(&mut router(8), payload);
    assert_eq!((parts.len(), parts[0].0, parts[0].1.to_bytes()), (1, 0, metrics));
    // Nor is anything lost that has no item.
    let parts = route(&mut router(8), payload_of_nothing());
    assert_eq!((parts.len(), parts[0].0, parts[0].1.bytes()), (1, 0, 2));
}

fn payload_of_nothing() -> Payload {
    Payload::parse(Signal::Traces, Bytes::from_static(b"\x0a\x00")).unwrap()
}

#[test]
fn there_are_1_to_256_shards() {
    for shards in [0, 257, usize::MAX] {
        assert_eq!(Router::new(shards, 1).unwrap_err(), InvalidShards(shards));
    }
    assert_eq!(InvalidShards(0).to_string(), "0 shards: there may be 1 to 256");
    let mut router = router(256);
    let parts = route(&mut router, payload(&of_ids((1..20_000u128).map(u128::to_be_bytes))));
    assert_eq!(parts.len(), 256);
    assert_eq!(parts.iter().map(|(_, part)| part.items()).sum::<u64>(), 19_999);
}

#[test]
fn ids_are_spread_evenly_whoever_chooses_them() {
    type Choose = fn(u128) -> [u8; 16];
    // A constant of the hash function.
    const KNOWN: u128 = 0xc0ac_29b7_c97c_50dd;
    let kinds: [(&str, Choose); 8] = [
        ("in a row", u128::to_be_bytes),
        ("in a row from the other end", u128::to_le_bytes),
        ("one upper half", |n| (7 << 64 | n).to_be_bytes()),
        ("one lower half", |n| (n << 64 | 7).to_be_bytes()),
        ("a known upper half", |n| (KNOWN << 64 | n).to_le_bytes()),
        ("a known lower half", |n| (n << 64 | KNOWN).to_le_bytes()),
        ("multiples of a power of two", |n| (n << 40).to_be_bytes()),
        ("two equal halves", |n| (n << 64 | n).to_be_bytes()),
    ];
    let mut random = fastrand::Rng::with_seed(3);
    for seed in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
        let router = Router::new(8, seed).unwrap();
        let check = |name: &str, id: &mut dyn FnMut(u128) -> [u8; 16]| {
            let mut counts = [0u32; 8];
            (1..=80_000).for_each(|n| counts[router.shard_of(id(n))] += 1);
            // 10 000 each, with a standard deviation of 94.
            let off = counts.iter().map(|count| count.abs_diff(10_000)).max().unwrap();
            assert!(off <= 4 * 94, "{name} with {seed:x}: {counts:?}");
        };
        check("random", &mut |_| random.u128(..).to_be_bytes());
        for (name, id) in &kinds {
            check(name, &mut |n| id(n));
        }
    }
}

#[test]
fn who_waits_is_answered_for_each_item_by_its_shard() {
    for (seed, route) in (0..20).zip(
        [route as fn(&mut Router, Payload) -> Vec<(usize, Payload)>, route_read]
            .into_iter()
            .cycle(),
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut router = router(rng.usize(1..6));
        // What goes to the shards of even numbers arrives.
        let arrives = |shard: usize| shard.is_multiple_of(2);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut expected = Vec::new();
        let mut merged = Payload::empty(Signal::Traces);
        for (number, request) in traffic(seed, 60, 50).iter().enumerate() {
            let mut payload = payload(request);
            if rng.u8(..4) > 0 {
                let mut answer = Answer::default();
                for (id, _) in spans_of(request.clone()) {
                    if arrives(router.shard_of(id.try_into().unwrap())) {
                        answer.delivered += 1;
                    } else {
                        answer.dropped += 1;
                    }
                }
                expected.push((number, answer));
                let heard = Arc::clone(&heard);
                payload = payload.with_ack(Ack::new(answer.items(), move |answer| {
                    heard.lock().unwrap().push((number, answer));
                }));
            }
            merged.append(payload);
            if rng.bool() || number == 59 {
                let payload = std::mem::replace(&mut merged, Payload::empty(Signal::Traces));
                for (shard, mut part) in route(&mut router, payload) {
                    let (items, ack) = (part.items(), part.take_ack());
                    assert!(ack.is_none() || ack.items() == items);
                    if arrives(shard) {
                        ack.settle(Answer::delivered(items));
                    }
                }
            }
        }
        let mut heard = heard.lock().unwrap();
        heard.sort_unstable_by_key(|(number, _)| *number);
        assert_eq!(*heard, expected, "seed {seed}");
    }
}

/// Below a resource of so many bytes: scopes with these ids each.
fn below(resource: usize, scopes: impl IntoIterator<Item = Vec<[u8; 16]>>) -> ResourceSpans {
    let of_scope = |(number, ids): (usize, Vec<[u8; 16]>)| {
        let mut scope = of_ids(ids).resource_spans.remove(0).scope_spans.remove(0);
        let name = number.to_string();
        scope.scope = Some(InstrumentationScope { name, ..InstrumentationScope::default() });
        scope
    };
    ResourceSpans {
        resource: Some(Resource {
            attributes: vec![KeyValue { key: "x".repeat(resource), ..KeyValue::default() }],
            ..Resource::default()
        }),
        scope_spans: scopes.into_iter().enumerate().map(of_scope).collect(),
        ..ResourceSpans::default()
    }
}

fn random_ids(rng: &mut fastrand::Rng, count: usize) -> Vec<[u8; 16]> {
    (0..count).map(|_| rng.u128(1..).to_be_bytes()).collect()
}

#[test]
fn no_request_becomes_much_longer_than_it_was() {
    const KIB: usize = 1024;
    let mut rng = fastrand::Rng::with_seed(1);
    for (name, resource, resources, spans, torn) in [
        ("a large resource and few spans", 4096 * KIB, 1, 1000, true),
        ("a large resource and many spans", 66 * KIB, 1, 200_000, false),
        ("many resources of a usual size", KIB, 200, 64, false),
        ("many resources just not large", 63 * KIB, 100, 256, true),
        ("few resources just not large", 7 * KIB, 1, 256, false),
    ] {
        let resources = (0..resources).map(|_| below(resource, [random_ids(&mut rng, spans)]));
        let request = ExportTraceServiceRequest { resource_spans: resources.collect() };
        for shards in [2, 16, 256] {
            let mut router = router(shards);
            let whole = payload(&request);
            let (items, bytes) = (whole.items(), whole.bytes());
            let parts = route(&mut router, whole);
            let came: usize = parts.iter().map(|(_, part)| part.bytes()).sum();
            assert_eq!(parts.iter().map(|(_, part)| part.items()).sum::<u64>(), items);
            assert!(came <= 11 * bytes + 1024 * KIB, "{name}: {bytes} bytes became {came}");
            if shards == 16 {
                assert_eq!(router.stats().torn > 0, torn, "{name}: {:?}", router.stats());
            }
        }
    }
}

#[test]
fn below_a_large_resource_the_few_go_with_the_many() {
    let mut router = router(4);
    let many: Vec<_> = ids_for(&router, 1).take(20).collect();
    let few: Vec<_> = ids_for(&router, 3).take(5).collect();
    let apart = of_ids(few.clone()).resource_spans.remove(0);
    let large = below(70_000, [few, many]);
    let request = ExportTraceServiceRequest { resource_spans: vec![large, apart] };
    let parts = route(&mut router, payload(&request));
    let parts: Vec<_> = parts.iter().map(|(shard, part)| (*shard, part.items())).collect();
    // Those below the other resource are where they belong.
    assert_eq!(parts, [(1, 25), (3, 5)]);
    assert_eq!(router.stats().torn, 5);
}

#[test]
fn a_long_request_is_written_in_steps() {
    let mut rng = fastrand::Rng::with_seed(1);
    // A hundred traces, so that each is in all of the steps.
    let ids = random_ids(&mut rng, 100);
    let mut scope = |spans| (0..spans).map(|_| ids[rng.usize(..100)]).collect::<Vec<_>>();
    // Many scopes, one long one, and several resources.
    let scopes: Vec<_> = (0..3000).map(|_| scope(10)).collect();
    let resource_spans =
        vec![below(100, scopes), below(200, [scope(40_000)]), below(300, [scope(5), scope(5)])];
    let request = ExportTraceServiceRequest { resource_spans };
    let (mut router, mut owners) = (router(5), HashMap::new());
    check(&mut router, payload(&request), &mut owners);
    assert_eq!(owners.len(), 100);
    assert_eq!(router.stats().torn, 0);
    let parts = route(&mut router, payload(&request));
    assert!(parts.iter().all(|(_, part)| part.segments().len() > 2));
}
