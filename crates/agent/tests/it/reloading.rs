//! SIGHUP: the config file is read again while the program works.

use std::time::{Duration, Instant};

use teleflow::Signal;

use crate::admin::{Metrics, get, send};
use crate::books::Books;
use crate::program::Program;
use crate::shutdown::forwarding;
use crate::shutdown::load::Load;
use crate::shutdown::sink::Sink;

/// How long something may take that happens in another process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests answered under each of the files.
const REQUESTS: u32 = 100;

fn sampling(policies: &str) -> String {
    format!("\n  tail_sampling: {{ decision_wait: 50ms, num_shards: 2, policies: [{policies}] }}\n")
}

const ERRORS: &str = "{ name: errors, type: status_code, status_code: { status_codes: [ERROR] } }";
const ALL: &str = "{ name: all, type: always_sample }";

/// Waits until the sink has what is asked for.
async fn until(is_so: impl Fn() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !is_so() {
        // bounded wait: spans get there through another process.
        assert!(Instant::now() < patience, "not within {PATIENCE:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_policies_under_load_lose_nothing_and_decide_what_comes() {
    let sink = Sink::open().await;
    let config = |policies| forwarding(sink.address, &sampling(policies), "tail_sampling, batch");
    let program = Program::start(&config(ERRORS), &[]);
    let load = Load::start(program.grpc(), program.http(), &[Signal::Traces]).await;
    load.answered(REQUESTS).await;
    until(|| sink.marked() > 0).await;
    // What comes in the meantime is counted as items before it is as marked ones.
    let items = sink.items(Signal::Traces);
    until(|| sink.marked() >= items).await;

    program.reload(&config(&format!("{ERRORS}, {ALL}")));
    program.says("pipeline traces has new policies (all is added)");
    program.says("all of it is applied now");
    load.answered(REQUESTS).await;
    until(|| sink.items(Signal::Traces) > 2 * sink.marked()).await;

    let metrics = Metrics::of(&get(&program, "/metrics").await);
    assert_eq!(metrics.sum("teleflow_config_reloads_total", &[("outcome", "success")]), 1);
    assert_eq!(metrics.sum("teleflow_config_reloads_total", &[("outcome", "failure")]), 0);
    let kept =
        |policy| metrics.sum("teleflow_tail_sampling_kept_traces_total", &[("policy", policy)]);
    assert!(kept("errors") > 0 && kept("all") > 0, "{metrics:?}");

    program.signal();
    let sent = load.turned_away().await;
    let ended = program.ended();
    assert!(ended.status.success(), "{ended:?}");
    let books = Books::parse(&ended.stdout);
    let traces = books.of("traces");
    assert!(sent.items(Signal::Traces).contains(&traces.accepted), "{sent:?}, {traces:?}");
    assert_eq!(traces.delivered, sink.items(Signal::Traces), "{traces:?}");
    assert_eq!((traces.rejected, traces.dropped, traces.held), (0, 0, 0), "{traces:?}");
    assert!(traces.sampled_out > 0, "by the first file: {traces:?}");
    // By both files, traces with an error are kept whole.
    assert!(sent.marked().contains(&sink.marked()), "{} of {sent:?}", sink.marked());
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_what_takes_a_restart_is_named() {
    let sink = Sink::open().await;
    let config = forwarding(sink.address, &sampling(ALL), "tail_sampling");
    let program = Program::start(&config, &[]);
    let wrong = config.replace("50ms", "soon").replace("[tail_sampling]", "[tail]");
    program.reload(&wrong);
    program.says("teleflow.yaml was read again and is wrong: nothing changed");
    program.says("processors.tail_sampling.decision_wait must be a duration, got `soon`");
    program
        .says("service.pipelines.traces.processors[0] is `tail`, which processors does not define");

    // It goes on as before.
    let spans = send(&program, Signal::Traces, 1).await;
    until(|| sink.items(Signal::Traces) == spans).await;

    let other =
        config.replace("timeout: 0", "timeout: 7s").replace("num_shards: 2", "num_shards: 3");
    program.reload(&other.replace("50ms", "40ms"));
    program.says("pipeline traces has new decision_wait");
    program.says(
        "these take a restart, and stay as they were: exporters.otlp, processors.tail_sampling.num_shards",
    );
    let metrics = Metrics::of(&get(&program, "/metrics").await);
    assert_eq!(metrics.sum("teleflow_config_reloads_total", &[("outcome", "success")]), 1);
    assert_eq!(metrics.sum("teleflow_config_reloads_total", &[("outcome", "failure")]), 1);
    assert_eq!(metrics.sum("teleflow_config_keys_for_restart", &[]), 2);

    // Back to what it was started with, but for what has changed.
    program.reload(&config);
    program.says("all of it is applied now");
    let metrics = Metrics::of(&get(&program, "/metrics").await);
    assert_eq!(metrics.sum("teleflow_config_keys_for_restart", &[]), 0);
    assert!(program.terminate().status.success());
}
