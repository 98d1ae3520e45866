//! When it is tried again: rules 9, 10, 23, 40 and 42.

use std::time::Duration;

use crate::exporter::Subject;
use crate::exporter::case::{Case, Items, Run, Setup};
use crate::rule::Level::{Must, Should};
use crate::rule::Verdict;
use crate::server::{Answer, Protocol};
use crate::status::Status;

const UNAVAILABLE: i32 = 14;

pub(super) fn cases(subject: &Subject, protocol: Protocol) -> Vec<Case> {
    // A driver's own back-off cannot be shortened: what the server asks for has to be longer.
    let delay = Duration::from_secs(if subject.is_gateway() { 1 } else { 3 });
    let busy = || match protocol {
        Protocol::Grpc => Answer::Status(UNAVAILABLE, None),
        _ => Answer::Http(503, Vec::new(), Vec::new()),
    };
    let mut cases = vec![jitter(subject, protocol, busy()), growth(protocol, busy())];
    cases.push(overload(subject, protocol, busy()));
    cases.push(late(subject, protocol));

    if protocol == Protocol::Grpc {
        let later = |code| Answer::Status(code, Some(Status::retry_after(code, "later", delay)));
        for (name, code) in [("unavailable", UNAVAILABLE), ("resource_exhausted", 8)] {
            let setup = Setup::new(protocol, vec![later(code)], 2);
            let name = format!("23.retry_delay_of_{name}");
            cases.push(Case::new(&name, Should, setup, move |run| at_least(run, delay)));
        }
        let setup = Setup::new(protocol, vec![later(UNAVAILABLE), busy()], 3);
        cases.push(Case::new("23.grows_from_there", Should, setup, move |run| {
            Verdict::all([at_least(run, delay), from_there(run, delay)])
        }));
        return cases;
    }
    let seconds = |status| {
        let header = vec![("retry-after", delay.as_secs().to_string())];
        Answer::Http(status, header, Vec::new())
    };
    for status in [429, 503, 502, 504] {
        let setup = Setup::new(protocol, vec![seconds(status)], 2);
        let name = format!("40.seconds_with_{status}");
        cases.push(Case::new(&name, Should, setup, move |run| at_least(run, delay)));
    }
    for status in [429, 503] {
        let setup = Setup::new(protocol, vec![Answer::RetryAfterDate(status, delay)], 2);
        let name = format!("40.date_with_{status}");
        cases.push(Case::new(&name, Should, setup, move |run| at_least(run, delay)));
    }
    for (name, value) in [
        ("date_in_the_past", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("date_of_rfc_850", "Sunday, 06-Nov-94 08:49:37 GMT"),
        ("neither_form", "soon"),
        ("negative", "-5"),
    ] {
        let header = vec![("retry-after", value.to_owned())];
        let setup = Setup::new(protocol, vec![Answer::Http(503, header, Vec::new())], 2);
        cases.push(Case::new(&format!("40.{name}"), Should, setup, |run| run.came(2)));
    }
    cases
}

/// The first gap is not shorter than the server asked.
fn at_least(run: &Run, delay: Duration) -> Verdict {
    match run.gaps(1).first() {
        None => Verdict::Fail("it was not tried again".to_owned()),
        Some(&gap) => Verdict::expect(delay <= gap, || {
            format!("tried again after {gap:.1?}, {delay:?} was asked for")
        }),
    }
}

/// After a further failure it waits no less than half of what it was told, whatever the jitter.
fn from_there(run: &Run, delay: Duration) -> Verdict {
    match run.gaps(1).get(1) {
        None => Verdict::Fail("it was not tried a third time".to_owned()),
        Some(&gap) => Verdict::expect(delay / 2 <= gap, || {
            format!("after {delay:?} were asked for, the next wait was {gap:.1?}")
        }),
    }
}

/// Of several first retries, the shortest and the longest wait differ.
///
/// Of eight waits spread evenly over `x ± 50 %`, all are within a fifth of the range in one of
/// 14 000 runs; of six over `x ± 20 %`, in one of 500.
fn jitter(subject: &Subject, protocol: Protocol, busy: Answer) -> Case {
    let setup =
        Setup { backoff: Duration::from_millis(400), ..Setup::new(protocol, vec![busy], 2) };
    let spread = |gaps: Vec<Duration>, least: f64| {
        let (Some(min), Some(max)) = (gaps.iter().min(), gaps.iter().max()) else {
            return Verdict::NotApplicable("it does not try again at all".to_owned());
        };
        let mean = gaps.iter().sum::<Duration>().as_secs_f64() / gaps.len() as f64;
        let seen = (*max - *min).as_secs_f64() / mean;
        Verdict::expect(least <= seen, || {
            format!("{} waits, all within {:.1} % of each other", gaps.len(), seen * 100.0)
        })
    };
    if subject.is_gateway() {
        let setup = Setup { items: Items::Plain(8), consumers: 8, ..setup };
        return Case::new("9.jitter", Must, setup, move |run: &Run| {
            let gaps = (1..=8).filter_map(|id| run.gaps(id).first().copied()).collect();
            spread(gaps, 0.2)
        });
    }
    Case::with_runs("9.jitter", Must, setup, 6, move |runs| {
        spread(runs.iter().filter_map(|run| run.gaps(1).first().copied()).collect(), 0.08)
    })
}

/// With each failure it waits longer. A gateway is told to wait four times as long each time, so that
/// its jitter of a half does not hide it.
fn growth(protocol: Protocol, busy: Answer) -> Case {
    let script = vec![busy.clone(), busy.clone(), busy];
    let setup = Setup { multiplier: 4, ..Setup::new(protocol, script, 4) };
    Case::new("9.exponential", Should, setup, |run: &Run| match run.gaps(1).as_slice() {
        [first, _, third] => Verdict::expect(first.mul_f64(1.2) < *third, || {
            format!("the first wait was {first:.1?}, the third {third:.1?}")
        }),
        gaps => Verdict::Fail(format!("it was tried again {} times of 3", gaps.len())),
    })
}

/// A server that is overloaded is not asked again at once.
fn overload(subject: &Subject, protocol: Protocol, busy: Answer) -> Case {
    let setup =
        Setup { backoff: Duration::from_millis(400), ..Setup::new(protocol, vec![busy], 2) };
    // Less than half of the back-off that a gateway is told; of a program, only that it is not at once.
    let least = Duration::from_millis(if subject.is_gateway() { 150 } else { 100 });
    Case::new("10.waits_when_overloaded", Must, setup, move |run: &Run| match run.gaps(1).first() {
        None => Verdict::NotApplicable("it does not try again at all".to_owned()),
        Some(&gap) => Verdict::expect(least <= gap, || format!("asked again after {gap:.1?}")),
    })
}

/// Nobody listens at first.
fn late(subject: &Subject, protocol: Protocol) -> Case {
    let late = Duration::from_millis(if subject.is_gateway() { 300 } else { 2500 });
    let setup = Setup { late, ..Setup::new(protocol, Vec::new(), 1) };
    Case::new("42.connect_is_retried", Should, setup, |run: &Run| run.came(1))
}
