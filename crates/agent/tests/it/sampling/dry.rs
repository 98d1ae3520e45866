//! A dry run: everything arrives, and is counted as if it were sampled.

use std::sync::Arc;

use super::traffic::{Shop, Trace};
use super::{Arrived, ERRORS, SLOW, config, end, metrics_when};
use crate::attacks::MIB;
use crate::program::Program;
use crate::shutdown::sink::Sink;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_and_what_would_have_been_left_out_is_counted() {
    let arrived = Arc::<Arrived>::default();
    let sink = Sink::open_to(&arrived).await;
    let sampling = format!(
        "dry_run: true, record_counts: all, record_host: here, num_traces: 200, \
         decision_cache: {{ sampled_cache_size: 100_000, non_sampled_cache_size: 100_000 }}, \
         policies: [{ERRORS}, {SLOW}]"
    );
    let program = Program::start(&config(sink.address, &sampling), &[]);
    let sent = Shop::open(&program, 8).await.send(4 * MIB, None).await;
    let name = "teleflow_tail_sampling_spans_total";
    // What was taken may still wait for its pipeline.
    let metrics = metrics_when(&program, |metrics| {
        let held = metrics.sum("teleflow_tail_sampling_held_spans", &[]);
        metrics.sum(name, &[]) + held == sent.spans
    })
    .await;
    let of = |sampled| metrics.sum(name, &[("sampled", sampled)]);
    assert!(of("true") > 0 && of("false") > of("true"), "most would be left out: {metrics:#?}");

    assert_eq!(end(program, &sink, sent.spans), 0);
    let arrived = arrived.complete();
    assert_eq!(arrived.len() as u32, sent.traces);
    for (trace, parts) in &arrived {
        assert!(parts.are_all_of(*trace), "{trace:?} is there in part: {parts:?}");
    }
    assert!((0..sent.traces).map(Trace).all(|trace| arrived.contains_key(&trace)));
}
