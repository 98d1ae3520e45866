//! Head sampling of payloads, against a model that works on decoded requests.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use teleflow_otlp::{Ack, Answer, Payload, Signal, Writer, validate};
use teleflow_sampler::head::{
    Always, Candidate, Goal, HeadConfig, HeadSampler, Key, Never, Parent, Ratio, Sampler,
    Throughput, ThroughputConfig,
};
use teleflow_sampler::{Intent, Output, Randomness, Threshold, TraceState};
use teleflow_testkit::telemetry::Telemetry;

pub(super) fn th(text: &str) -> Threshold {
    text.parse().unwrap()
}

pub(super) fn ratio(threshold: &str) -> HeadSampler {
    HeadSampler::new(HeadConfig::new(Ratio::of(th(threshold))))
}

/// A trace id with this randomness.
pub(super) fn id(randomness: u64) -> Vec<u8> {
    (1u128 << 100 | u128::from(randomness)).to_be_bytes().to_vec()
}

pub(super) fn traces(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

pub(super) fn logs(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope = ScopeLogs { log_records, ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource] }
}

pub(super) fn sample<M: Message + Default>(
    sampler: &mut HeadSampler,
    signal: Signal,
    request: &M,
) -> (M, Output) {
    let payload = Payload::parse(signal, request.encode_to_vec().into()).unwrap();
    let items = payload.items();
    let mut out = Output::default();
    sampler.sample(Instant::now(), payload, &mut out);
    assert!(out.kept.len() <= 1);
    let mut bytes = Bytes::new();
    let mut kept = 0;
    for payload in &out.kept {
        bytes = payload.to_bytes();
        kept = payload.items();
        assert_eq!(validate(signal, &bytes), Ok(kept));
    }
    assert_eq!(kept + out.sampled_out, items);
    (M::decode(bytes).unwrap(), out)
}

/// The trace states of what is kept.
pub(super) fn states(sampler: &mut HeadSampler, spans: Vec<Span>) -> Vec<String> {
    let (request, _) = sample(sampler, Signal::Traces, &traces(spans));
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.trace_state).collect()
}

pub(super) fn span(randomness: u64, state: &str) -> Span {
    Span { trace_id: id(randomness), trace_state: state.into(), ..Span::default() }
}

pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

#[test]
fn what_stays_as_it_is_is_not_copied() {
    let request = Telemetry::new(1).traces(8);
    let bytes = Bytes::from(request.encode_to_vec());
    let mut sampler = HeadSampler::new(HeadConfig::new(Always));
    let mut out = Output::default();
    let mut payload = Payload::parse(Signal::Traces, bytes.clone()).unwrap();
    payload.append(Payload::parse(Signal::Traces, bytes.clone()).unwrap());
    sampler.sample(Instant::now(), payload, &mut out);
    for segment in out.kept[0].segments() {
        assert_eq!(segment.as_ptr(), bytes.as_ptr());
    }
    // So it is with a threshold that is there already.
    let spans = vec![span(u64::MAX >> 8, "ot=th:c"), span(u64::MAX >> 8, "x=y,ot=th:e")];
    let bytes = Bytes::from(traces(spans).encode_to_vec());
    let payload = Payload::parse(Signal::Traces, bytes.clone()).unwrap();
    ratio("c").sample(Instant::now(), payload, &mut out);
    assert_eq!(out.kept[1].segments()[0].as_ptr(), bytes.as_ptr());
    // Metrics pass by, also where nothing is kept.
    let metrics = Bytes::from(Telemetry::new(1).metrics(3).encode_to_vec());
    let payload = Payload::parse(Signal::Metrics, metrics.clone()).unwrap();
    HeadSampler::new(HeadConfig::new(Never)).sample(Instant::now(), payload, &mut out);
    assert_eq!(out.kept[2].segments()[0].as_ptr(), metrics.as_ptr());
}

/// What an equalizing ratio makes of a request, written plainly.
fn model(mut request: ExportTraceServiceRequest, own: Threshold) -> ExportTraceServiceRequest {
    for resource in &mut request.resource_spans {
        for scope in &mut resource.scope_spans {
            scope.spans.retain_mut(|span| {
                let text = span.trace_state.clone();
                let state = TraceState::parse(&text);
                let id: [u8; 16] = span.trace_id.as_slice().try_into().unwrap();
                let of_id = Randomness::from_trace_id(id);
                let randomness = state.randomness().unwrap_or(of_id);
                let before = state.threshold().filter(|before| before.keeps(randomness));
                let after = own.max(before.unwrap_or(Threshold::ALL));
                if !after.keeps(randomness) {
                    return false;
                }
                let is_known = before.is_some() || state.threshold().is_none();
                let after = is_known.then_some(after);
                span.trace_state = state.with_threshold(after).unwrap().into_owned();
                true
            });
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    request.resource_spans.retain(|resource| !resource.scope_spans.is_empty());
    request
}

fn without_empty_groups(mut request: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    for resource in &mut request.resource_spans {
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    request.resource_spans.retain(|resource| !resource.scope_spans.is_empty());
    request
}

/// Gives some spans trace states that mean something.
fn with_states(
    mut request: ExportTraceServiceRequest,
    rng: &mut fastrand::Rng,
) -> ExportTraceServiceRequest {
    const STATES: &[&str] = &[
        "",
        "",
        "",
        "ot=th:8",
        "a=b,ot=th:4;x:y",
        "ot=rv:ffffffffffffff;th:0",
        "ot=th:fff",
        "a=b",
        "ot=rv:00000000000001",
        "ot=th:zz,c=d",
    ];
    for resource in &mut request.resource_spans {
        for span in resource.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
            span.trace_state = rng.choice(STATES).unwrap().to_string();
        }
    }
    request
}

#[test]
fn payloads_come_out_as_those_of_a_model_do_and_a_lower_share_is_a_part_of_a_higher() {
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut kept_spans, mut all_spans) = (0, 0);
    for seed in 0..300 {
        let request = with_states(Telemetry::new(seed).traces(6), &mut rng);
        let own = Threshold::from_bits(1 + rng.u64(..(1 << 56) - 1)).unwrap();
        let mut sampler = HeadSampler::new(HeadConfig::new(Ratio::of(own)));
        let (kept, out) = sample(&mut sampler, Signal::Traces, &request);
        let expected = model(request.clone(), own);
        // As bytes, for attributes may be no numbers.
        let come_out = without_empty_groups(kept.clone()).encode_to_vec();
        assert!(come_out == expected.encode_to_vec(), "seed {seed}");
        let count = |request: &ExportTraceServiceRequest| {
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            scopes.map(|scope| scope.spans.len()).sum::<usize>()
        };
        assert_eq!(count(&kept) as u64 + out.sampled_out, count(&request) as u64);
        (kept_spans, all_spans) = (kept_spans + count(&kept), all_spans + count(&request));
        assert_eq!(sampler.stats().kept, count(&kept) as u64);

        // Whoever keeps more keeps all of these.
        let lower = Threshold::from_bits(rng.u64(..=own.bits())).unwrap();
        let (more, _) = sample(
            &mut HeadSampler::new(HeadConfig::new(Ratio::of(lower))),
            Signal::Traces,
            &request,
        );
        let ids = |request: &ExportTraceServiceRequest| {
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            let spans = scopes.flat_map(|scope| &scope.spans);
            spans.map(|span| (span.trace_id.clone(), span.span_id.clone())).collect::<Vec<_>>()
        };
        let more = ids(&more);
        assert!(ids(&kept).iter().all(|span| more.contains(span)), "seed {seed}");
    }
    assert!(
        kept_spans > all_spans / 10 && kept_spans < all_spans * 9 / 10,
        "{kept_spans} of {all_spans}"
    );
}

#[test]
fn who_waits_is_answered_for_each_span_once() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut sampler = ratio("8");
    for seed in 0..100 {
        let mut telemetry = Telemetry::new(seed);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut payload = Payload::empty(Signal::Traces);
        let mut awaited = 0;
        for _ in 0..3 {
            let bytes = telemetry.request(Signal::Traces, 6).into();
            let mut one = Payload::parse(Signal::Traces, bytes).unwrap();
            let items = one.items();
            if rng.bool() {
                awaited += items;
                let heard = Arc::clone(&heard);
                one = one.with_ack(Ack::new(items, move |answer| {
                    assert_eq!(answer.items(), items);
                    heard.lock().unwrap().push(answer);
                }));
            }
            payload.append(one);
        }
        let (items, mut out) = (payload.items(), Output::default());
        sampler.sample(Instant::now(), payload, &mut out);
        let mut delivered = 0;
        for mut payload in out.kept.drain(..) {
            delivered += payload.items();
            payload.take_ack().settle(Answer::delivered(payload.items()));
        }
        assert_eq!(delivered + out.sampled_out, items);
        let heard = heard.lock().unwrap();
        assert_eq!(heard.iter().map(Answer::items).sum::<u64>(), awaited);
        let told = |count: fn(&Answer) -> u64| heard.iter().map(count).sum::<u64>();
        assert_eq!((told(|a| a.dropped), told(|a| a.rejected)), (0, 0));
        assert!(told(|a| a.delivered) <= delivered && told(|a| a.sampled_out) <= out.sampled_out);
    }
}

/// Writes down what it is asked.
#[derive(Debug, Default)]
struct Asked(Arc<Mutex<Vec<Candidate>>>);

impl Sampler for Asked {
    fn intent(&self, _: Instant, candidate: &Candidate) -> Intent {
        self.0.lock().unwrap().push(*candidate);
        Intent::Sample(Threshold::ALL)
    }
}

#[test]
fn samplers_are_told_what_a_span_is() {
    let asked = Asked::default();
    let told = Arc::clone(&asked.0);
    let config = HeadConfig { key: Key::ServiceAndName, ..HeadConfig::new(asked) };
    let mut sampler = HeadSampler::new(config);
    let child = |flags, kind| Span {
        parent_span_id: vec![1; 8],
        flags,
        kind,
        name: "child".into(),
        ..span(7, "")
    };
    let spans = vec![
        Span { name: "root".into(), ..span(7, "ot=th:0") },
        child(0x301, 1),
        child(0x101, 2),
        // Who does not say where the parent is says it by the kind.
        child(0, 2),
        child(0, 5),
        child(0, 1),
        Span { parent_span_id: vec![0; 8], ..child(0, 1) },
    ];
    let mut request = traces(spans.clone());
    request.resource_spans.push(ResourceSpans {
        resource: Some(Resource {
            attributes: vec![attribute("x", "y"), attribute("service.name", "shop")],
            ..Resource::default()
        }),
        ..traces(spans).resource_spans[0].clone()
    });
    sample(&mut sampler, Signal::Traces, &request);
    let told = told.lock().unwrap();
    let entries: Vec<_> = told[..7].iter().map(|candidate| candidate.is_entry).collect();
    assert_eq!(entries, [true, true, false, true, true, false, true]);
    let remote = Parent::Remote { is_sampled: true };
    let local = Parent::Local { is_sampled: true };
    let parents: Vec<_> = told[..7].iter().map(|candidate| candidate.parent).collect();
    assert_eq!(parents, [Parent::None, remote, local, local, local, local, Parent::None]);
    assert_eq!((told[0].before, told[1].before), (Some(Threshold::ALL), None));
    // One key for each service and name.
    let mut keys: Vec<_> = told.iter().map(|candidate| candidate.key).collect();
    assert!(keys[1..6].iter().all(|key| *key == keys[1]));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    assert!(told.iter().all(|candidate| candidate.bytes > 20));
}

#[test]
fn services_have_goals_of_their_own() {
    let config = ThroughputConfig { goal: Goal::PerKey(1.0), ..ThroughputConfig::default() };
    let throughput = Throughput::new(config, Instant::now()).unwrap();
    let config = HeadConfig { key: Key::Service, ..HeadConfig::new(throughput) };
    let mut sampler = HeadSampler::new(config);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut request = ExportTraceServiceRequest::default();
    for (name, spans) in [("loud", 5000), ("quiet", 3)] {
        let spans = (0..spans).map(|_| span(rng.u64(..1 << 56), "")).collect();
        let mut group = traces(spans).resource_spans.remove(0);
        let attributes = vec![attribute("service.name", name)];
        group.resource = Some(Resource { attributes, ..Resource::default() });
        request.resource_spans.push(group);
    }
    let (kept, _) = sample(&mut sampler, Signal::Traces, &request);
    let count = |index: usize| kept.resource_spans[index].scope_spans[0].spans.len();
    assert!(count(0) <= 45, "three budgets of ten, and chance: {}", count(0));
    assert_eq!(count(1), 3, "a quiet service is kept whole");
    let sum = sampler.stats().adjusted_count;
    assert!((1000.0..20_000.0).contains(&sum), "{sum}");
}

#[test]
fn any_bytes_are_sampled_without_a_panic() {
    let mut rng = fastrand::Rng::with_seed(9);
    let mut kept = 0;
    for seed in 0..600 {
        let signal = if seed % 2 == 0 { Signal::Traces } else { Signal::Logs };
        let request = Telemetry::new(seed).request(signal, 5);
        let (bytes, _) = teleflow_testkit::mangle::mangle(&mut rng, &request);
        let Ok(payload) = Payload::parse(signal, bytes.into()) else { continue };
        let items = payload.items();
        let mut out = Output::default();
        ratio("8").sample(Instant::now(), payload, &mut out);
        let of_kept: u64 = out.kept.iter().map(Payload::items).sum();
        assert_eq!(of_kept + out.sampled_out, items);
        for payload in out.kept {
            assert_eq!(validate(signal, &payload.to_bytes()), Ok(payload.items()));
            kept += payload.items();
        }
    }
    assert!(kept > 100, "{kept}");
}

#[test]
fn a_flood_of_nothing_is_not_made_many_times_its_size() {
    // Records and spans without content: two bytes each.
    for signal in [Signal::Logs, Signal::Traces] {
        let count = 200_000;
        let mut request = Vec::new();
        Writer::new(&mut request).message(1, |resource| {
            resource.message(2, |scope| {
                (0..count).for_each(|_| scope.message(2, |_| {}));
            });
        });
        let len = request.len();
        let payload = Payload::parse(signal, request.into()).unwrap();
        let mut out = Output::default();
        let mut sampler = ratio("00000000000001");
        sampler.sample(Instant::now(), payload, &mut out);
        let kept = &out.kept[0];
        assert_eq!((kept.items(), out.sampled_out), (count, 0));
        assert_eq!(validate(signal, &kept.to_bytes()), Ok(count));
        assert!(kept.bytes() < 2 * len + 70 * 1024, "{} of {len}", kept.bytes());
        let stats = sampler.stats();
        assert!(stats.without_room > 0 && stats.without_room < count, "{stats:?}");
    }
}

#[test]
fn unknown_fields_and_groups_of_a_span_survive_its_edit() {
    // trace_id; an unknown group (100) with a string in it; trace_state; an unknown field 200.
    let mut span = b"\x0a\x10".to_vec();
    span.extend([0xff; 16]);
    span.extend(b"\xa3\x06\x0a\x02hi\xa4\x06");
    span.extend(b"\x1a\x03a=b");
    span.extend(b"\xc0\x0c\x05");
    let mut edited = b"\x0a\x10".to_vec();
    edited.extend([0xff; 16]);
    edited.extend(b"\x1a\x0bot=th:8,a=b");
    edited.extend(b"\xa3\x06\x0a\x02hi\xa4\x06");
    edited.extend(b"\xc0\x0c\x05");
    let request = |span: &[u8]| {
        let nest = |inner: &[u8], key: u8| [&[key, inner.len() as u8], inner].concat();
        nest(&nest(&nest(span, 0x12), 0x12), 0x0a)
    };
    let payload = Payload::parse(Signal::Traces, request(&span).into()).unwrap();
    let mut out = Output::default();
    ratio("8").sample(Instant::now(), payload, &mut out);
    assert_eq!(out.kept[0].to_bytes(), request(&edited));
}
