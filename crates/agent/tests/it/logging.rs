//! The log of a program whose standard error is not read, or takes nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use teleflow::Signal;

use crate::admin::{CONFIG, Metrics, get_from, send_to};
use crate::books::Books;
use crate::commands::running::{Running, Stream, address};
use crate::program::Program;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

const LINES: &str = "teleflow_log_lines_total";

/// Sends until lines of the log were left out; returns how many items that took.
async fn fill(program: &Program) -> u64 {
    let patience = Instant::now() + PATIENCE;
    let mut sent = 0;
    // bounded wait: the pipe to a reader that does not read has to be full first.
    while log_lines(program.admin(), "left_out").await < 100 {
        assert!(Instant::now() < patience, "every line of the log got out");
        for seed in 1..20 {
            sent += send_to(program.grpc(), Signal::Logs, seed).await;
        }
    }
    sent
}

async fn log_lines(admin: SocketAddr, outcome: &str) -> u64 {
    Metrics::of(&get_from(admin, "/metrics").await).sum(LINES, &[("outcome", outcome)])
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_telemetry_nor_the_end() {
    let program = Program::start_with(CONFIG, &[], Some("trace"));
    program.listen(false);
    let sent = fill(&program).await;
    assert_eq!(get_from(program.admin(), "/health").await.status.as_u16(), 200);
    let ended = program.terminate();
    assert!(ended.status.success(), "{}", ended.stdout);
    let books = Books::parse(&ended.stdout);
    let logs = books.of("logs");
    assert_eq!((logs.accepted, logs.delivered, logs.held), (sent, sent, 0), "{logs:?}");
}

#[tokio::test]
async fn a_log_that_is_read_again_says_how_many_lines_are_missing() {
    let program = Program::start_with(CONFIG, &[], Some("trace"));
    program.listen(false);
    fill(&program).await;
    program.listen(true);
    program.says("left out\n");
    // From here on it is read as fast as it comes.
    let missing = log_lines(program.admin(), "left_out").await;
    let ended = program.terminate();
    assert!(ended.status.success(), "{}", ended.stdout);
    let told = ended.stderr.lines().filter_map(|line| {
        let line = line.strip_prefix("teleflow: ")?.strip_suffix(" left out")?;
        Some(line.split_once(" line")?.0.parse::<u64>().unwrap())
    });
    assert_eq!(told.sum::<u64>(), missing);
    let last = ended.stderr.lines().last().unwrap();
    assert!(ended.stderr.ends_with('\n'), "the log ends with a whole line: {last:?}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_disk_that_is_full_of_the_log_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--store", "demo.db", "--admin", "127.0.0.1:0"];
    let args = [&args[..], &["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]].concat();
    let mut demo = Running::start(folder.path(), &args, Stream::StdoutAlone);
    let admin = address(&demo.says("gateway: "), "http://");
    let patience = Instant::now() + PATIENCE;
    // bounded wait: it logs its own requests, and those that ask how much of that has failed.
    while log_lines(admin, "failed").await < 1000 {
        assert!(Instant::now() < patience, "the disk is not full");
    }
    assert_eq!(log_lines(admin, "written").await, 0);
    assert_eq!(get_from(admin, "/health").await.status.as_u16(), 200);
    let (status, said) = demo.terminated();
    assert!(status.success(), "{said}");
    assert!(said.contains("generated"), "the books were written, and agree: {said}");
}
