//! SIGTERM under load: what was answered with success arrives or is in the books.

pub(crate) mod load;
pub(crate) mod sink;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use teleflow::Signal;

use self::load::{Load, Sent};
use self::sink::Sink;
use crate::admin::send;
use crate::books::Books;
use crate::program::Program;

/// Requests answered before the signal: enough for every client to have sent some.
const BEFORE: u32 = 200;

/// Everything to one sink, which may take its time; nothing is dropped for that.
pub(crate) fn forwarding(sink: SocketAddr, processors: &str, of_traces: &str) -> String {
    format!(
        "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
processors:
  batch:
{processors}
exporters:
  otlp:
    endpoint: http://{sink}
    compression: none
    timeout: 0
    sending_queue: {{ block_on_overflow: true }}
extensions:
  admin: {{ endpoint: 127.0.0.1:0 }}
service:
  extensions: [admin]
  pipelines:
    traces: {{ receivers: [otlp], processors: [{of_traces}], exporters: [otlp] }}
    metrics: {{ receivers: [otlp], processors: [batch], exporters: [otlp] }}
    logs: {{ receivers: [otlp], processors: [batch], exporters: [otlp] }}
"
    )
}

/// Traces with an error, and one in ten of the others; nothing is decided before the end.
const SAMPLING: &str = "
  tail_sampling:
    decision_wait: 10m
    policies:
      - { name: errors, type: status_code, status_code: { status_codes: [ERROR] } }
      - { name: some, type: probabilistic, probabilistic: { sampling_percentage: 10 } }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_under_load_is_delivered_after_sigterm() {
    let sink = Sink::open().await;
    let program = Program::start(&forwarding(sink.address, "", "batch"), &[]);
    let load = Load::start(program.grpc(), program.http(), &Signal::ALL).await;
    load.answered(BEFORE).await;
    program.signal();
    let sent = load.turned_away().await;
    let books = end(program);
    all_delivered(&sent, &books, &sink);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_falls_behind_is_waited_for_after_sigterm() {
    let sink = Sink::shut().await;
    let program = Program::start(&forwarding(sink.address, "", "batch"), &[]);
    let load = Load::start(program.grpc(), program.http(), &Signal::ALL).await;
    load.answered(BEFORE).await;
    program.signal();
    // All that was accepted so far is held, and leaves when the draining has begun.
    program.says("stopping");
    assert_eq!(Signal::ALL.map(|signal| sink.items(signal)), [0; 3]);
    sink.answer_one_by_one();
    let sent = load.turned_away().await;
    let books = end(program);
    all_delivered(&sent, &books, &sink);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_that_are_undecided_at_sigterm_are_decided_and_none_is_lost() {
    let sink = Sink::open().await;
    let config = forwarding(sink.address, SAMPLING, "tail_sampling, batch");
    let program = Program::start(&config, &[]);
    let load = Load::start(program.grpc(), program.http(), &[Signal::Traces]).await;
    load.answered(BEFORE).await;
    assert_eq!(sink.items(Signal::Traces), 0, "nothing is decided yet");
    program.signal();
    let sent = load.turned_away().await;
    let books = end(program);

    let traces = books.of("traces");
    assert!(sent.items(Signal::Traces).contains(&traces.accepted), "{sent:?}, {traces:?}");
    assert_eq!(traces.delivered, sink.items(Signal::Traces), "{traces:?}");
    assert_eq!((traces.rejected, traces.dropped, traces.held), (0, 0, 0), "{traces:?}");
    assert!(traces.sampled_out > traces.delivered, "{traces:?}");
    // A trace with an error is kept, with all its spans, and it is not alone.
    assert!(sent.marked().contains(&sink.marked()), "{} of {sent:?}", sink.marked());
    assert!(0 < sink.marked() && sink.marked() < traces.delivered, "{sent:?}, {traces:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_never_answers_ends_the_drain_at_its_time_and_is_in_the_books() {
    let sink = Sink::shut().await;
    let config = forwarding(sink.address, SAMPLING, "tail_sampling, batch");
    let program = Program::start(&config, &["--drain-timeout", "1s"]);
    let load = Load::start(program.grpc(), program.http(), &Signal::ALL).await;
    load.answered(BEFORE).await;
    let signalled = Instant::now();
    program.signal();
    let sent = load.turned_away().await;
    let books = end(program);
    // A second to drain, one more for the exporter to close, and time for a slow machine; less than
    // the 20 s of a drain that is not told how long.
    assert!(signalled.elapsed() < Duration::from_secs(20), "{:?}", signalled.elapsed());

    for signal in Signal::ALL {
        let row = books.of(signal.name());
        assert!(sent.items(signal).contains(&row.accepted), "{sent:?}, {row:?}");
        assert_eq!((row.delivered, row.rejected, row.held), (0, 0, 0), "{row:?}");
        assert_eq!(row.reasons.keys().collect::<Vec<_>>(), ["shutdown"], "{row:?}");
    }
    let traces = books.of("traces");
    assert!(traces.sampled_out > 0, "the decisions were made: {traces:?}");
    assert_eq!(Signal::ALL.map(|signal| sink.items(signal)), [0; 3]);
}

#[tokio::test]
async fn a_second_sigterm_ends_the_drain_at_once() {
    // Takes connections in and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = Program::start(&forwarding(silent.local_addr().unwrap(), "", "batch"), &[]);
    send(&program, Signal::Logs, 1).await;
    program.signal();
    program.says("stopping");
    let second = Instant::now();
    program.signal();
    let ended = program.ended();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("stopped at once; what was held is lost"), "{ended:?}");
    assert!(second.elapsed() < Duration::from_secs(10), "long before the drain's 20 s are over");
}

/// The books of a program that was told to stop.
#[track_caller]
fn end(program: Program) -> Books {
    let ended = program.ended();
    assert!(ended.status.success(), "{ended:?}");
    Books::parse(&ended.stdout)
}

#[track_caller]
fn all_delivered(sent: &Sent, books: &Books, sink: &Sink) {
    for signal in Signal::ALL {
        let row = books.of(signal.name());
        assert!(row.accepted > 0, "{row:?}");
        assert!(sent.items(signal).contains(&row.accepted), "{sent:?}, {row:?}");
        assert_eq!(row.delivered, sink.items(signal), "{row:?}");
        assert_eq!(row.delivered, row.accepted, "{row:?}");
        assert_eq!((row.sampled_out, row.rejected), (0, 0), "{row:?}");
        assert_eq!((row.dropped, row.held), (0, 0), "{row:?}");
    }
}
