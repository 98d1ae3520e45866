//! Random traffic, configurations and times, against a sampler that is written plainly.

pub(super) mod plain;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use teleflow_otlp::{Ack, Answer, Payload, Signal, tree, validate};
use teleflow_sampler::{
    Config, Digest, Eviction, Output, Policy, Remembered, Rule, Strategy, TailSampler,
};

use self::plain::{Keeps, Model, NOBODY_KNOWS, Plan, Sent, State, threshold};

/// `TELEFLOW_SEEDS=5000` for a long run.
pub(super) fn seeds() -> u64 {
    std::env::var("TELEFLOW_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(50)
}

/// The bytes of a span and of what it is below.
pub(super) struct Raw {
    pub(super) message: Vec<u8>,
    pub(super) resource: Vec<u8>,
    scope: Vec<u8>,
    /// Who waits for it.
    asker: usize,
}

/// What came, by the numbers that spans have for names.
#[derive(Default)]
pub(super) struct Traffic {
    pub(super) raw: Vec<Raw>,
    ids: Vec<[u8; 16]>,
}

fn plan(rng: &mut fastrand::Rng) -> Plan {
    let mut policies = match rng.u8(..8) {
        0 => vec![("unlimited", Keeps::Unlimited)],
        _ => {
            let percent = |rng: &mut fastrand::Rng| Keeps::Percent(rng.u32(8..90).into());
            vec![
                ("errors", Keeps::Errors),
                ("slow", Keeps::Slow(rng.u64(..900))),
                ("few", percent(rng)),
                ("more", percent(rng)),
                ("drop", Keeps::DropsFrom(rng.u64(2..20))),
            ]
        }
    };
    rng.shuffle(&mut policies);
    policies.truncate(rng.usize(1..=policies.len()));
    let forgets = rng.u8(..4) == 0;
    let remembers = |rng: &mut fastrand::Rng| if forgets && rng.bool() { 0 } else { 100_000 };
    Plan {
        policies,
        wait: rng.u64(..3_000_000_000),
        after_root: rng.bool().then(|| rng.u64(..1_000_000_000)),
        max_traces: rng.usize(1..120),
        blocks_when_full: rng.u8(..5) == 0,
        max_spans: rng.bool().then(|| rng.u64(..12)),
        max_bytes: (rng.u8(..4) == 0).then(|| rng.u64(50..3000)),
        remembered: Remembered { kept: remembers(rng), dropped: remembers(rng) },
        payload_bytes: if rng.bool() { rng.usize(..120) } else { rng.usize(..50_000) },
        writes_threshold: rng.u8(..4) > 0,
        records_policy: rng.bool(),
        drops_at_end: rng.bool(),
    }
}

fn config(plan: &Plan, max_bytes: usize) -> Config {
    let rules = plan.policies.iter().map(|(name, keeps)| {
        let policy = match *keeps {
            Keeps::Errors => Policy::errors(),
            Keeps::Slow(over) => Policy::slower_than(Duration::from_millis(over)),
            Keeps::Percent(percent) => Policy::percent(percent, ""),
            Keeps::Unlimited => Policy::RateLimit { spans_per_second: 1 << 40, burst: 1 << 40 },
            Keeps::DropsFrom(min) => {
                let long = Rule::new("long", Policy::SpanCount { min, max: None });
                Policy::Drop(vec![long])
            }
        };
        Rule::new(*name, policy)
    });
    let rules: Vec<_> = rules.collect();
    Config {
        rules: rules.into(),
        strategy: Strategy::TraceComplete,
        decision_wait: Duration::from_nanos(plan.wait),
        decision_wait_after_root: plan.after_root.map(Duration::from_nanos),
        root_condition: None,
        max_bytes,
        storage: None,
        max_traces: plan.max_traces,
        blocks_when_full: plan.blocks_when_full,
        max_trace_spans: plan.max_spans,
        max_trace_bytes: plan.max_bytes,
        remembered: plan.remembered,
        payload_bytes: plan.payload_bytes,
        writes_threshold: plan.writes_threshold,
        records_policy: plan.records_policy,
        eviction: Eviction::Rules,
        drops_at_end: plan.drops_at_end,
        hash_seed: 5,
        ..Config::default()
    }
}

/// A configuration that decides nothing for its bytes, where there are fewer.
#[cfg(feature = "mapped")]
pub(super) fn any_config(rng: &mut fastrand::Rng, max_bytes: usize) -> Config {
    config(&plan(rng), max_bytes)
}

// === impl Traffic ===

impl Traffic {
    fn id(&mut self, rng: &mut fastrand::Rng) -> Vec<u8> {
        match rng.u8(..40) {
            0 => return vec![],
            1 => return vec![0; 16],
            _ => {}
        }
        if self.ids.is_empty() || rng.u8(..4) == 0 {
            // The halves repeat.
            let half = |rng: &mut fastrand::Rng| match rng.u8(..4) {
                0 => 7u64,
                1 => rng.u64(..4),
                _ => rng.u64(..),
            };
            let id = (u128::from(half(rng)) << 64 | u128::from(half(rng))).max(1).to_be_bytes();
            self.ids.push(id);
        }
        // Mostly one of the latest.
        let from = self.ids.len().saturating_sub(30) * usize::from(rng.u8(..4) > 0);
        self.ids[rng.usize(from..self.ids.len())].to_vec()
    }

    fn span(&mut self, rng: &mut fastrand::Rng) -> (Span, State) {
        let trace_id = self.id(rng);
        let half = threshold(50.0);
        let (before, own) = (Some(half).filter(|_| rng.bool()), rng.u64(..1 << 56));
        let own = Some(own).filter(|_| rng.u8(..3) == 0);
        let state = match rng.u8(..6) {
            0 => State::new("", own, before),
            1 => State::new("congo=t61rcWkgMzE", own, before),
            _ => State::default(),
        };
        let start = 1_700_000_000_000_000_000 + rng.u64(..300_000_000);
        let name_end = if rng.u8(..200) == 0 { rng.usize(..30_000) } else { rng.usize(..60) };
        let span = Span {
            trace_id,
            parent_span_id: [vec![], vec![0; 8], vec![3; 8], vec![3; 8]][rng.usize(..4)].clone(),
            trace_state: state.text.clone(),
            start_time_unix_nano: start,
            end_time_unix_nano: start + rng.u64(..1_000_000_000),
            name: "x".repeat(name_end),
            status: Some(Status { code: rng.i32(-60..3).max(0), ..Status::default() }),
            ..Span::default()
        };
        (span, state)
    }

    /// A request, and its spans in the order in which they are in it.
    pub(super) fn request(&mut self, rng: &mut fastrand::Rng, asker: usize) -> (Bytes, Vec<Sent>) {
        let mut states = BTreeMap::new();
        let mut number = self.raw.len();
        let text = |len: usize| KeyValue {
            key: "k".into(),
            value: Some(AnyValue { value: Some(Value::StringValue("v".repeat(len))) }),
            ..KeyValue::default()
        };
        let (groups, len) = (rng.usize(..4), if rng.u8(..9) == 0 { 300 } else { 40 });
        let resource_spans = (0..groups).map(|_| {
            let scopes = rng.usize(..3);
            let scope_spans = (0..scopes).map(|_| {
                let spans = (0..rng.usize(..10)).map(|_| {
                    let (mut span, state) = self.span(rng);
                    span.name.insert_str(0, &format!("{number:08}"));
                    states.insert(number, state);
                    number += 1;
                    span
                });
                let spans = spans.collect();
                let attributes = (0..rng.usize(..2)).map(|_| text(rng.usize(..len))).collect();
                let scope = InstrumentationScope { attributes, ..Default::default() };
                let scope = Some(scope).filter(|_| rng.bool());
                ScopeSpans { scope, spans, ..ScopeSpans::default() }
            });
            let scope_spans = scope_spans.collect();
            let attributes = (0..rng.usize(..2)).map(|_| text(rng.usize(..len))).collect();
            let resource = Some(Resource { attributes, ..Default::default() });
            ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }
        });
        let resource_spans = resource_spans.collect();
        let bytes = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        let mut sent = Vec::new();
        for (message, field_len, resource, scope) in items(&bytes) {
            let span = Span::decode(&*message).unwrap();
            let id = <[u8; 16]>::try_from(&span.trace_id[..]).ok().filter(|id| *id != [0; 16]);
            let number = self.raw.len();
            sent.push(Sent {
                number,
                id,
                is_root: span.parent_span_id.iter().all(|byte| *byte == 0),
                is_error: span.status.unwrap().code == 2,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                state: states.remove(&number).unwrap(),
                field_len,
                envelope_len: resource.len() + scope.len(),
            });
            self.raw.push(Raw { message, resource, scope, asker });
        }
        (bytes, sent)
    }
}

/// A span's message, how long its field is, and what it is below.
type Item = (Vec<u8>, u64, Vec<u8>, Vec<u8>);

/// The spans of a request.
pub(super) fn items(request: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    for resource in tree::resources(request) {
        let mut above = Vec::new();
        resource.envelope(&mut above);
        for scope in resource.scopes() {
            let mut below = Vec::new();
            scope.envelope(&mut below);
            for item in scope.items() {
                let len = item.field.len() as u64;
                items.push((item.message.to_vec(), len, above.clone(), below.clone()));
            }
        }
    }
    items
}

/// A span's bytes without its trace state, which prost writes behind two ids.
pub(super) fn without_state(message: &[u8]) -> Vec<u8> {
    let span = Span::decode(message).unwrap();
    let state = Span { trace_state: span.trace_state, ..Span::default() }.encode_to_vec();
    if state.is_empty() {
        return message.to_vec();
    }
    let at = message.windows(state.len()).position(|part| part == state).unwrap();
    [&message[..at], &message[at + state.len()..]].concat()
}

/// Who sent a request.
struct Asker {
    /// How many spans it has, if it is waited for.
    sent: Option<u64>,
    /// How many came out.
    kept: u64,
    heard: Arc<Mutex<Vec<Answer>>>,
}

/// A world of a sampler, the model, and those who wait.
struct World {
    rng: fastrand::Rng,
    sampler: TailSampler,
    model: Model,
    traffic: Traffic,
    out: Output,
    start: Instant,
    now: u64,
    last_poll: Option<u64>,
    /// By request.
    askers: Vec<Asker>,
    kept: u64,
    max_bytes: usize,
}

// === impl World ===

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = plan(&mut rng);
        // More than there will be: nothing is decided for its bytes.
        let max_bytes = 64 << 20;
        Self {
            sampler: TailSampler::new(config(&plan, max_bytes)).unwrap(),
            model: Model::new(plan),
            traffic: Traffic::default(),
            out: Output::default(),
            start: Instant::now(),
            now: 0,
            last_poll: None,
            askers: Vec::new(),
            kept: 0,
            max_bytes,
            rng,
        }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.now)
    }

    fn step(&mut self) {
        match self.rng.u8(..20) {
            0 => self.reconfigure(),
            1..6 => self.poll(),
            _ => self.offer(),
        }
        self.check();
        let most = if self.rng.u8(..9) == 0 { 3_000_000_000 } else { 100_000_000 };
        self.now += self.rng.u64(1..most);
    }

    fn offer(&mut self) {
        let mut payload = Payload::empty(Signal::Traces);
        for _ in 0..self.rng.usize(1..4) {
            let asker = self.askers.len();
            let (bytes, sent) = self.traffic.request(&mut self.rng, asker);
            let mut one = Payload::parse(Signal::Traces, bytes).unwrap();
            assert_eq!(one.items(), sent.len() as u64);
            let heard = Arc::new(Mutex::new(Vec::new()));
            let hears = Arc::clone(&heard);
            if self.rng.u8(..4) > 0 {
                let ack = Ack::new(one.items(), move |answer| hears.lock().unwrap().push(answer));
                one = one.with_ack(ack);
                self.askers.push(Asker { sent: Some(sent.len() as u64), kept: 0, heard });
            } else {
                self.askers.push(Asker { sent: None, kept: 0, heard });
            }
            // What has no bytes is not offered at all.
            if one.bytes() > 0 {
                self.model.offer(self.now, sent);
            }
            payload.append(one);
        }
        // Read before or not, it comes to the same.
        if self.rng.bool() {
            let mut digest = Digest::of(payload);
            self.sampler.offer_digest(self.instant(), &mut digest, &mut self.out);
        } else {
            self.sampler.offer(self.instant(), payload, &mut self.out);
        }
    }

    fn poll(&mut self) {
        self.model.poll(self.now);
        loop {
            self.sampler.poll(self.instant(), &mut self.out);
            if self.sampler.next_deadline().is_none_or(|due| due > self.instant()) {
                break;
            }
        }
        self.last_poll = Some(self.now);
    }

    fn reconfigure(&mut self) {
        let remembered = self.model.plan.remembered;
        let plan = Plan { remembered, ..plan(&mut self.rng) };
        self.sampler.reconfigure(config(&plan, self.max_bytes)).unwrap();
        self.model.reconfigure(plan);
    }

    fn drain(&mut self) {
        self.model.drain(self.now);
        while !self.sampler.drain(self.instant(), &mut self.out) {}
        self.check();
        assert_eq!((self.sampler.held().spans, self.sampler.next_deadline()), (0, None));
        for Asker { sent, kept, heard } in &self.askers {
            let answer = sent.map(|sent| {
                let sampled_out = sent - kept;
                Answer { delivered: *kept, sampled_out, ..Answer::default() }
            });
            assert_eq!(*heard.lock().unwrap(), Vec::from_iter(answer));
        }
    }

    /// What came out is what the model says, and the books balance.
    fn check(&mut self) {
        for mut payload in std::mem::take(&mut self.out.kept) {
            let bytes = payload.to_bytes();
            assert_eq!(validate(Signal::Traces, &bytes), Ok(payload.items()));
            self.kept += payload.items();
            for (message, _, resource, scope) in items(&bytes) {
                self.came_out(&message, &resource, &scope);
            }
            let items = payload.items();
            payload.take_ack().settle(Answer::delivered(items));
        }
        // What only chance knew was left out.
        let perhaps = self.model.expected.len();
        let sure = self.model.expected.iter().find(|(_, expected)| !expected.perhaps);
        assert!(sure.is_none(), "{sure:?} did not come out: {:?}", self.model.plan);
        self.model.expected.clear();
        self.model.left_out += perhaps as u64;
        let counts = &mut self.model.counts;
        counts.spans_sampled_out[0] += perhaps as u64;

        let (held, stats) = (self.sampler.held(), self.sampler.stats());
        assert_eq!(self.out.sampled_out, self.model.left_out);
        assert_eq!(
            (held.spans, held.traces),
            (self.model.spans() as u64, self.model.traces() as u64)
        );
        let offered = self.traffic.raw.len() as u64;
        assert_eq!(offered, self.kept + self.out.sampled_out + held.spans);
        assert_eq!(stats.spans_kept, self.kept);
        let left_out: u64 = stats.spans_sampled_out.iter().sum();
        assert_eq!(left_out + stats.late_sampled_out, self.out.sampled_out);
        let told = plain::Counts {
            traces: stats.traces,
            decisions: stats.decisions,
            waited_millis: stats.waited_millis,
            late_kept: stats.late_kept,
            late_sampled_out: stats.late_sampled_out,
            without_trace: stats.without_trace,
            below_large: stats.below_large_envelope,
            spans_sampled_out: stats.spans_sampled_out,
        };
        assert_eq!(told, self.model.counts);
        let due = self.model.next().map(|due| {
            let due = self.last_poll.map_or(due, |last| due.max(last + 20_000_000));
            self.start + Duration::from_nanos(due)
        });
        assert_eq!(self.sampler.next_deadline(), due);
        assert_eq!(self.sampler.is_full(), self.model.traces() >= self.model.plan.max_traces);
    }

    fn came_out(&mut self, message: &[u8], resource: &[u8], scope: &[u8]) {
        let span = Span::decode(message).unwrap();
        let number: usize = span.name[..8].parse().unwrap();
        let raw = &self.traffic.raw[number];
        let expected = self.model.expected.remove(&number).expect("it is to be kept, and once");
        if let Some(state) = expected.state {
            assert_eq!(span.trace_state, state, "of {number}");
        }
        assert!(without_state(message) == without_state(&raw.message), "{number} has changed");
        assert!(resource == raw.resource, "the resource of {number} has changed");
        let read = |bytes: &[u8]| ScopeSpans::decode(bytes).unwrap().scope;
        let mut wanted = read(&raw.scope);
        let attributes = &mut wanted.get_or_insert_default().attributes;
        let mut tell = |key: &str, value| {
            let value = Some(AnyValue { value: Some(value) });
            attributes.push(KeyValue { key: key.into(), value, ..KeyValue::default() });
        };
        if let Some(name) = expected.policy {
            tell("tailsampling.policy", Value::StringValue(name.into()));
        }
        if expected.is_late {
            tell("tailsampling.cached_decision", Value::BoolValue(true));
        }
        if expected.policy != Some(NOBODY_KNOWS) {
            assert_eq!(read(scope).unwrap_or_default(), wanted.unwrap(), "{:?}", self.model.plan);
        }
        self.askers[raw.asker].kept += 1;
    }
}

#[test]
fn random_traffic_fares_as_in_the_model() {
    let (mut kept, mut left_out) = (0, 0);
    for seed in 0..seeds() {
        let hint = Hint(seed);
        let mut world = World::new(seed);
        // From here on it counts.
        world.poll();
        for _ in 0..60 {
            world.step();
        }
        world.drain();
        (kept, left_out) = (kept + world.kept, left_out + world.out.sampled_out);
        std::mem::forget(hint);
    }
    assert!(kept > left_out / 10 && left_out > kept / 10, "{kept} kept, {left_out} left out");
}

/// Tells the seed of a world that failed.
pub(super) struct Hint(pub(super) u64);

impl Drop for Hint {
    #[allow(clippy::print_stderr, reason = "a failure has to name its seed")]
    fn drop(&mut self) {
        eprintln!("seed {}", self.0);
    }
}
