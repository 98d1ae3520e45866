use std::sync::mpsc;
use std::time::Duration;

use teleflow_otlp::Answer;
use teleflow_otlp::value::{AnyValue, Attributes};
use teleflow_testkit::reference::Request;
use teleflow_testkit::telemetry::Telemetry;

use super::*;
use crate::{Config, Policy, Relief, Remembered, Rule};

const WAIT: Duration = Duration::from_secs(1);

/// Keeps traces that failed.
fn sampler(config: Config) -> TailSampler {
    let rules = vec![Rule::new("errors", Policy::errors())].into();
    TailSampler::new(Config { rules, decision_wait: WAIT, holds_logs: true, ..config }).unwrap()
}

/// A request with a record of each of these traces; 0 stands for none.
fn records(telemetry: &mut Telemetry, traces: impl IntoIterator<Item = u128>) -> Payload {
    let mut request = telemetry.logs(1);
    while request.resource_logs.iter().all(|resource| resource.scope_logs.is_empty()) {
        request = telemetry.logs(1);
    }
    let template = telemetry.log_record();
    let records = traces.into_iter().map(|trace| {
        let mut record = template.clone();
        record.trace_id = if trace == 0 { Vec::new() } else { trace.to_be_bytes().to_vec() };
        record
    });
    let mut groups = request.resource_logs.iter_mut().flat_map(|group| &mut group.scope_logs);
    groups.next().unwrap().log_records = records.collect();
    groups.for_each(|group| group.log_records.clear());
    Payload::parse(Signal::Logs, Request::Logs(request).encode().into()).unwrap()
}

/// A request with a span of a trace, which failed or not.
fn span(telemetry: &mut Telemetry, trace: u128, failed: bool) -> Payload {
    let mut request = telemetry.traces(1);
    while request.resource_spans.iter().all(|resource| resource.scope_spans.is_empty()) {
        request = telemetry.traces(1);
    }
    let mut one = telemetry.span();
    one.trace_id = trace.to_be_bytes().to_vec();
    one.status.get_or_insert_default().code = if failed { 2 } else { 1 };
    let mut groups = request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    groups.next().unwrap().spans = vec![one];
    groups.for_each(|group| group.spans.clear());
    Payload::parse(Signal::Traces, Request::Traces(request).encode().into()).unwrap()
}

/// How many spans and records are kept.
fn kept(out: &mut Output) -> (u64, u64) {
    let count = |signal| {
        let of_signal = out.kept.iter().filter(|payload| payload.signal() == signal);
        of_signal.map(Payload::items).sum()
    };
    let counts = (count(Signal::Traces), count(Signal::Logs));
    out.kept.clear();
    counts
}

#[test]
fn records_wait_for_the_decision_about_their_trace_and_follow_it() {
    let mut telemetry = Telemetry::new(1);
    let (mut sampler, mut out) = (sampler(Config::default()), Output::default());
    let now = Instant::now();
    // One trace fails, one does not, of one only records come.
    sampler.offer(now, records(&mut telemetry, [1, 2, 3, 0]), &mut out);
    assert_eq!(kept(&mut out), (0, 1), "who has no trace waits for none");
    sampler.offer(now, span(&mut telemetry, 1, true), &mut out);
    sampler.offer(now, span(&mut telemetry, 2, false), &mut out);
    sampler.offer(now, records(&mut telemetry, [1, 1, 2, 3]), &mut out);
    assert_eq!((kept(&mut out), sampler.held().traces), ((0, 0), 3));
    sampler.poll(now + WAIT, &mut out);
    assert_eq!(kept(&mut out), (1, 3));
    assert_eq!((out.sampled_out, out.logs_sampled_out), (1, 4));
    assert_eq!((sampler.held().spans, sampler.held().traces), (0, 0));
    sampler.offer(now + WAIT, records(&mut telemetry, [1, 2, 2, 3, 0]), &mut out);
    assert_eq!((kept(&mut out), out.logs_sampled_out), ((0, 2), 7), "late ones follow too");
    let stats = sampler.stats();
    assert_eq!((stats.traces_kept, stats.traces_sampled_out, stats.spans_kept), (1, 2, 1));
}

#[test]
fn without_being_told_to_hold_them_records_pass_by() {
    let mut telemetry = Telemetry::new(2);
    let config = Config { holds_logs: false, ..sampler(Config::default()).config };
    let (mut sampler, mut out) = (TailSampler::new(config).unwrap(), Output::default());
    sampler.offer(Instant::now(), records(&mut telemetry, [1, 0]), &mut out);
    assert_eq!((kept(&mut out), sampler.held().traces), ((0, 2), 0));
}

#[test]
fn who_waits_for_records_is_answered_once_for_each() {
    let mut telemetry = Telemetry::new(3);
    let (mut sampler, mut out) = (sampler(Config::default()), Output::default());
    let now = Instant::now();
    let mut payload = records(&mut telemetry, [1, 2, 0, 1]);
    payload.append(records(&mut telemetry, [2, 2, 3]));
    let (tell, told) = mpsc::channel();
    let ack = Ack::new(payload.items(), move |answer| tell.send(answer).unwrap());
    sampler.offer(now, payload.with_ack(ack), &mut out);
    sampler.offer(now, span(&mut telemetry, 1, true), &mut out);
    sampler.poll(now + WAIT, &mut out);
    assert!(told.try_recv().is_err(), "what is kept is on its way");
    for mut payload in out.kept.drain(..) {
        let items = payload.items();
        payload.take_ack().settle(Answer::delivered(items));
    }
    let wanted = Answer { delivered: 3, sampled_out: 4, ..Answer::default() };
    assert_eq!(told.try_recv(), Ok(wanted));
}

#[test]
fn a_flood_of_records_stays_within_the_bound_and_nothing_is_lost() {
    let mut telemetry = Telemetry::new(4);
    let max_bytes = 1024 * 1024;
    let remembered = Remembered { kept: 100, dropped: 100 };
    let (mut sampler, mut out) =
        (sampler(Config { max_bytes, remembered, ..Config::default() }), Output::default());
    let now = Instant::now();
    let (mut offered, mut handed) = (0, 0);
    for round in 0..400u128 {
        let first = round * 50 + 1;
        let payload = records(&mut telemetry, first..first + 50);
        let bytes = payload.bytes();
        offered += payload.items();
        sampler.offer(now, payload, &mut out);
        handed += kept(&mut out).1;
        let held = sampler.held().bytes;
        let most = max_bytes + max_bytes / 16 + bytes + 64 * 1024;
        assert!(held <= most as u64, "{held} after {round}");
    }
    let early = sampler.stats().decisions[crate::Trigger::Bytes as usize];
    assert!(early > 0, "the bound was reached");
    while !sampler.drain(now, &mut out) {}
    handed += kept(&mut out).1;
    assert_eq!(handed + out.logs_sampled_out, offered);
    assert_eq!((sampler.held().spans, sampler.held().traces), (0, 0));
}

#[test]
fn in_a_dry_run_records_go_on_and_tell_what_would_have_become_of_them() {
    let mut telemetry = Telemetry::new(11);
    let mut sampler = sampler(Config { dry_run: true, ..Config::default() });
    let (now, mut out) = (Instant::now(), Output::default());
    sampler.offer(now, records(&mut telemetry, [1, 2]), &mut out);
    sampler.offer(now, span(&mut telemetry, 1, true), &mut out);
    sampler.poll(now + WAIT, &mut out);
    let told = |out: &mut Output| {
        let mut told = Vec::new();
        for payload in out.kept.iter().filter(|payload| payload.signal() == Signal::Logs) {
            let bytes = payload.to_bytes();
            for group in tree::resources(&bytes).flat_map(|resource| resource.scopes()) {
                let mut envelope = Vec::new();
                group.envelope(&mut envelope);
                let scopes = tree::headers(&envelope);
                let attributes = scopes.flat_map(Attributes::of_scope);
                let mut verdict = attributes.filter(|(key, _)| *key == "tailsampling.dry_run.kept");
                let verdict = verdict.next().unwrap().1;
                let is_kept = matches!(verdict, AnyValue::Bool(true));
                told.extend(group.items().map(|item| (log::trace_id(item.message)[15], is_kept)));
            }
        }
        told.sort_unstable();
        out.kept.clear();
        told
    };
    assert_eq!(told(&mut out), [(1, true), (2, false)]);
    sampler.offer(now + WAIT, records(&mut telemetry, [1, 2]), &mut out);
    assert_eq!(told(&mut out), [(1, true), (2, false)]);
    assert_eq!((out.sampled_out, out.logs_sampled_out), (0, 0));
}

#[test]
fn traces_of_records_alone_leave_no_mark_behind() {
    // Salted, it marks each trace by itself.
    let rules = vec![Rule::new("half", Policy::percent(50.0, "salt"))].into();
    let mut sampler = TailSampler::new(Config {
        rules,
        decision_wait: WAIT,
        holds_logs: true,
        ..Config::default()
    })
    .unwrap();
    let (mut telemetry, mut out) = (Telemetry::new(7), Output::default());
    let now = Instant::now();
    sampler.offer(now, records(&mut telemetry, 1..=100), &mut out);
    sampler.poll(now + WAIT, &mut out);
    let (_, logs) = kept(&mut out);
    assert!((1..100).contains(&logs), "{logs}");
    assert_eq!((logs + out.logs_sampled_out, sampler.held().spans), (100, 0));
    assert!(sampler.kept.is_clear(), "{:?}", sampler.kept);
}

#[test]
fn records_keep_to_the_number_of_traces_while_there_is_relief() {
    let relief = Relief { activation: 0, deactivation: 0, ..Relief::default() };
    let config = Config { relief: Some(relief), ..Config::default() };
    let mut sampler = sampler(Config { max_traces: 16, blocks_when_full: true, ..config });
    let (mut telemetry, mut out) = (Telemetry::new(8), Output::default());
    let now = Instant::now();
    for n in 0..10 {
        assert!(!sampler.is_full(), "nobody is held back");
        sampler.offer(now, records(&mut telemetry, 1 + 10 * n..=10 + 10 * n), &mut out);
        assert!(sampler.held().traces <= 16);
    }
    assert_eq!(out.logs_sampled_out + sampler.held().spans, 100);
}
