//! Limits, connections, deadlines and the end: rules 11-14, 17, 18, 32, 33, 42, 58 and 59.

use std::time::Duration;

use crate::exporter::Subject;
use crate::exporter::case::{Case, Items, Run, Setup};
use crate::rule::Level::{Must, Should};
use crate::rule::Verdict;
use crate::server::{Answer, FLOOD, Protocol};

/// What is over the limit that the protocol advises.
const TOO_LARGE: usize = 65 << 20;

pub(super) fn cases(subject: &Subject, protocol: Protocol) -> Vec<Case> {
    let plain = |script| Setup::new(protocol, script, 1);
    let (large, flood) = if protocol == Protocol::Grpc { (17, 18) } else { (32, 33) };
    let mut cases = vec![
        Case::new(
            "13.nothing_empty",
            Should,
            Setup { items: Items::Empty, ..Setup::new(protocol, Vec::new(), 0) },
            |run: &Run| {
                let empty = run.of(0).len();
                let seen = || format!("{empty} requests without items");
                Verdict::all([Verdict::expect(empty == 0, seen), arrived(run)])
            },
        ),
        Case::new(
            &format!("{large}.not_sent"),
            Should,
            Setup { items: Items::Large(TOO_LARGE), ..Setup::new(protocol, Vec::new(), 0) },
            |run: &Run| {
                if run.refused {
                    let reason = "the gateway takes no request that is over it";
                    return Verdict::NotApplicable(reason.to_owned());
                }
                let sent = run.attempts.iter().map(|attempt| attempt.sent).max().unwrap_or(0);
                let body = |attempt: &crate::server::Attempt| {
                    attempt.body.as_ref().map_or(usize::MAX, Vec::len)
                };
                let large = run.attempts.iter().any(|attempt| TOO_LARGE <= body(attempt));
                let seen = || format!("a request of {TOO_LARGE} bytes was sent, in {sent}");
                Verdict::all([Verdict::expect(!large, seen), arrived(run)])
            },
        ),
        Case::new(&format!("{flood}.limited"), Must, plain(vec![Answer::Flood]), |run: &Run| {
            run.first(|attempt| {
                let seen = || format!("it took all {} MiB of an answer", FLOOD >> 20);
                Verdict::expect(attempt.taken < FLOOD, seen)
            })
        }),
        Case::new(
            &format!("{flood}.not_retried"),
            Must,
            plain(vec![Answer::Flood]),
            |run: &Run| run.given_up(),
        ),
        Case::new(
            "42.connection_is_kept",
            Should,
            Setup { items: Items::Plain(3), ..plain(Vec::new()) },
            |run: &Run| {
                let connections = run.attempts.iter().map(|attempt| attempt.connection).max();
                let connections = connections.map_or(0, |last| last + 1);
                let seen = || format!("{connections} connections for 3 requests in a row");
                Verdict::all([run.came(1), Verdict::expect(connections == 1, seen)])
            },
        ),
        Case::new(
            "58.deadline",
            Must,
            Setup { timeout: Duration::from_secs(1), ..plain(vec![Answer::Hang]) },
            |run: &Run| {
                run.first(|attempt| match attempt.gone {
                    None => Verdict::Fail("it waits on".to_owned()),
                    Some(gone) => {
                        let waited = gone.duration_since(attempt.at);
                        let seen = || format!("1 s was its deadline, it left after {waited:.1?}");
                        Verdict::expect(waited < Duration::from_secs(3), seen)
                    }
                })
            },
        ),
        Case::new(
            "59.shutdown_ends",
            Must,
            Setup {
                timeout: Duration::from_secs(1),
                stop_early: true,
                ..plain(vec![Answer::Hang; 100])
            },
            |run: &Run| Verdict::expect(run.end.is_some(), || "it had to be killed".to_owned()),
        ),
    ];
    if !subject.is_gateway() {
        return cases;
    }
    let slow = || vec![Answer::After(Duration::from_millis(300), Box::new(Answer::Ok))];
    cases.extend([
        Case::new(
            "11.several_in_flight",
            Should,
            Setup { items: Items::Plain(3), consumers: 4, ..plain(slow()) },
            |run: &Run| {
                // The marker is answered at once.
                let slow: Vec<_> = (1..=3).flat_map(|id| run.of(id)).collect();
                let answered = slow.iter().filter_map(|attempt| attempt.answered).min();
                // Where none was answered yet, all that came are in flight.
                let before = |at| answered.is_none_or(|answered| at < answered);
                let before = slow.iter().filter(|attempt| before(attempt.at));
                let seen = || "the second came after the first was answered".to_owned();
                Verdict::expect(1 < before.count(), seen)
            },
        ),
        Case::new(
            "12.pending_is_sent_at_shutdown",
            Should,
            Setup { items: Items::Plain(3), stop_early: true, ..plain(slow()) },
            |run: &Run| {
                let came = (1..=3).filter(|&id| !run.of(id).is_empty()).count();
                Verdict::expect(came == 3, || format!("{came} of 3 came"))
            },
        ),
        Case::new(
            "14.a_silent_destination",
            Should,
            Setup { items: Items::Plain(3), second_hangs: true, ..plain(Vec::new()) },
            |run: &Run| Verdict::all([run.came(1), arrived(run)]),
        ),
    ]);
    cases
}

/// What was sent last came, so what is not there will not come.
fn arrived(run: &Run) -> Verdict {
    Verdict::expect(run.marker, || "what was sent after it did not come".to_owned())
}
