//! Exporters that are bad on purpose: see `src/bin/bad-exporter.rs`.

use std::collections::BTreeSet;

use teleflow_conformance::exporter::{Program, Subject};
use teleflow_conformance::rule::{Level, Outcome};
use teleflow_conformance::server::Protocol;

use crate::{every, failed};

async fn check(vice: &str, filter: &str, protocol: Protocol) -> Vec<Outcome> {
    let program = env!("CARGO_BIN_EXE_bad-exporter").to_owned();
    let command = vec![program, vice.to_owned()];
    Subject::Program(Program { command, protocols: vec![protocol] }).check(filter, |_| {}).await
}

/// A loaded machine makes jitter where there is none: three times in a row is another matter.
async fn steady(protocol: Protocol) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes = check("steady", "9.jitter", protocol).await;
        if !failed(&outcomes, Level::Must).is_empty() {
            break;
        }
    }
    outcomes
}

/// What no bad program shows: how it forwards, which a test of its own shows, and a program that never
/// ends, for which the test would wait.
const NOT_SHOWN: &[&str] = &["56.round_trip", "59.shutdown_ends"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_must_fails_against_an_exporter_that_breaks_it() {
    // Most of the time they wait.
    let peers = Protocol::ALL.map(|protocol| async move {
        let (greedy, steady, once, coded) = tokio::join!(
            check("greedy", "", protocol),
            steady(protocol),
            check("once", "36.", protocol),
            check("coded", "30.none", protocol),
        );
        let mut found = BTreeSet::new();
        for outcomes in [&greedy, &steady, &once, &coded] {
            found.extend(failed(outcomes, Level::Must));
        }
        for rule in ["25.", "26.", "27.", "29.", "30.", "45.", "46.", "48.", "49.", "50.", "6"] {
            found.extend(failed(&check("wrong", rule, protocol).await, Level::Must));
        }
        let all = every(&greedy, Level::Must);
        let missing: BTreeSet<_> = all
            .difference(&found)
            .filter(|name| !NOT_SHOWN.iter().any(|known| name.starts_with(known)))
            .cloned()
            .collect();
        assert!(missing.is_empty(), "{protocol:?}: none of them failed {missing:?}");
    });
    futures_util::future::join_all(peers).await;
}
