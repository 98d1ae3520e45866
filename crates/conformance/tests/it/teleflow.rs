//! Our own program: the real one, on free ports.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use teleflow_conformance::exporter::{Gateway, Subject};
use teleflow_conformance::rule::{Level, Outcome, Side, Verdict};
use teleflow_conformance::{Kind, Receiver, Report, Started};

use crate::failed;

/// The program beside this test; a note that the test was skipped where nobody has built it.
fn program(name: &str) -> Option<PathBuf> {
    let own = env::current_exe().unwrap();
    let folder = own.parent().and_then(|deps| deps.parent()).unwrap();
    let program = folder.join(format!("teleflow{}", env::consts::EXE_SUFFIX));
    if program.is_file() {
        return Some(program);
    }
    if let Some(path) = env::var_os("TELEFLOW_SKIPS") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{name}: teleflow is not built; `cargo test --workspace` builds it")
            .unwrap();
    }
    None
}

#[track_caller]
fn expect(outcomes: Vec<Outcome>, sides: &[Side]) {
    assert!(outcomes.len() > 50, "{} checks were made", outcomes.len());
    let must = failed(&outcomes, Level::Must);
    let should = failed(&outcomes, Level::Should);
    let report = Report { outcomes };
    assert!(must.is_empty(), "{}", report.table(sides));
    assert!(should.is_empty(), "{}", report.table(sides));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_receiver_keeps_the_rules() {
    let name = "teleflow::our_receiver_keeps_the_rules";
    let Some(program) = program(name) else { return };
    // As little as a limit can be, in MiB: 64 of them take long to send.
    let limit = 1 << 20;
    let mut started = Started::new(Kind::Teleflow, &program, limit).await.unwrap();
    let process = &started.receiver;
    let mut receiver = Receiver::new(Some(process.grpc), Some(process.http));
    receiver.max_request_bytes = limit;
    started.join(&mut receiver);
    let outcomes = receiver.check("", |_| {}).await;
    assert!(started.stop().await);
    // All that a receiver may be asked for was seen.
    for name in
        ["4.rejected_are_counted", "24.overload_is_unavailable", "39.overload_is_429_or_503"]
    {
        let seen = outcomes.iter().find(|outcome| outcome.name == name);
        assert_eq!(seen.map(|outcome| &outcome.verdict), Some(&Verdict::Pass), "{name}");
    }
    expect(outcomes, &[Side::Receiver, Side::Both]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_exporter_keeps_the_rules() {
    let name = "teleflow::our_exporter_keeps_the_rules";
    let Some(program) = program(name) else { return };
    let subject = Subject::Gateway(Gateway { program, kind: Kind::Teleflow });
    let outcomes = subject.check("", |_| {}).await;
    expect(outcomes, &[Side::Exporter, Side::Both]);
}
