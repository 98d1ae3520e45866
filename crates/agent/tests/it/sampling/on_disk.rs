//! Held spans on disk: eight times what memory may take is held until its time, and a disk that is
//! full loses nothing.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use super::arrived::Parts;
use super::traffic::{Kind, Sent, Shop, Trace};
use super::{Arrived, ERRORS, SLOW, config, end, metrics_when};
use crate::admin::Metrics;
use crate::attacks::MIB;
use crate::program::{Program, skipped};
use crate::shutdown::sink::Sink;

/// What undecided traces may take of memory.
const BOUND: u64 = 8 * MIB;

/// What the file allows besides, as in [`bounds`](super::bounds), and what waits for a pipeline.
const BESIDE: u64 = 3 * 4 * MIB + 16 * MIB;

/// A gateway whose traces wait until the end.
struct Scene {
    program: Program,
    sink: Sink,
    arrived: Arc<Arrived>,
    sent: Sent,
    metrics: Metrics,
    /// How much memory it took before, that is not of files.
    anonymous: Option<u64>,
}

// === impl Scene ===

impl Scene {
    /// Sends so many bytes to a gateway whose storage has these keys.
    async fn play(bytes: u64, storage: &str) -> Self {
        let arrived = Arc::<Arrived>::default();
        let sink = Sink::open_to(&arrived).await;
        let sampling = format!(
            "decision_wait: 10m, num_traces: 200_000, num_shards: 2, max_bytes: {BOUND}, \
             decision_cache: {{}}, tail_storage: pebble_tail_storage, policies: [{ERRORS}, {SLOW}, \
             {{ name: some, type: probabilistic, probabilistic: {{ sampling_percentage: 5 }} }}]"
        );
        let extension = format!("extensions:\n  pebble_tail_storage: {{ {storage} }}\n");
        let config = config(sink.address, &sampling)
            .replace("extensions:\n", &extension)
            .replace("extensions: [admin]", "extensions: [admin, pebble_tail_storage]");
        let program = Program::start(&config, &[]);
        let anonymous = anonymous(&program);
        let sent = Shop::open(&program, 64).await.send(bytes, None).await;
        // What was taken may still wait for its pipeline.
        let metrics = metrics_when(&program, |metrics| {
            of(metrics, "spans_total") + of(metrics, "held_spans") == sent.spans
        })
        .await;
        Self { program, sink, arrived, sent, metrics, anonymous }
    }

    /// Ends it; returns how many spans were left out, and what arrived.
    #[track_caller]
    fn end(self) -> (u64, Sent, BTreeMap<Trace, Parts>) {
        let left_out = end(self.program, &self.sink, self.sent.spans);
        (left_out, self.sent, self.arrived.complete())
    }
}

fn of(metrics: &Metrics, what: &str) -> u64 {
    metrics.sum(&format!("teleflow_tail_sampling_{what}"), &[])
}

/// Resident memory that is not of files, in bytes.
fn anonymous(program: &Program) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).ok();
    let line = status.and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        Some(line.to_owned())
    });
    let Some(line) = line else {
        skipped("memory of a gateway with a storage", "there is no RssAnon in /proc");
        return None;
    };
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_times_what_memory_may_take_is_held_on_disk_until_its_time() {
    let scene = Scene::play(8 * BOUND, "directory: held").await;
    let (metrics, sent) = (&scene.metrics, scene.sent);
    assert_eq!(of(metrics, "decisions_total"), 0, "nothing is decided early");
    assert_eq!(of(metrics, "not_stored_requests_total"), 0);
    let [stored, storage] = ["stored_bytes", "storage_bytes"].map(|what| of(metrics, what));
    // Small requests stay in memory, and each shard's part of a request has the resource.
    let (least, most) = (sent.bytes * 99 / 100, sent.bytes * 105 / 100);
    assert!((least..=most).contains(&stored), "{stored} of {}", sent.bytes);
    assert!(storage >= stored && storage <= stored + stored / 4 + 4 * MIB, "{storage}");
    let remembered = of(metrics, "remembered_bytes");
    let held = of(metrics, "held_bytes");
    assert!(held <= BOUND + remembered, "{held} with {remembered} of decisions");
    if let (Some(before), Some(after)) = (scene.anonymous, anonymous(&scene.program)) {
        let (grew, allowed) = (after.saturating_sub(before), BOUND + remembered + BESIDE);
        assert!(grew <= allowed, "{grew} bytes of memory, and {allowed} are allowed");
        assert!(allowed < stored, "{stored} bytes in memory would have been seen");
    }
    let files = fs::read_dir(scene.program.folder().join("held")).unwrap();
    assert_eq!(files.count(), 0, "nothing would be left of a program that is killed");

    let (sampled_out, sent, arrived) = scene.end();
    let mut out = 0;
    for trace in (0..sent.traces).map(Trace) {
        let Some(parts) = arrived.get(&trace) else {
            let is_normal = matches!(trace.kind(), Kind::Normal | Kind::Probe);
            assert!(is_normal, "{trace:?} is not kept: {:?}", trace.kind());
            out += u64::from(trace.spans());
            continue;
        };
        assert!(parts.are_all_of(trace), "{trace:?} is kept in part: {parts:?}");
        let by = match trace.kind() {
            Kind::Failed | Kind::FailedLate => "errors",
            Kind::Slow => "slow",
            Kind::Normal | Kind::Probe => "some",
        };
        assert!(parts.policies.iter().eq([by]), "{trace:?}: {parts:?}");
    }
    assert_eq!(out, sampled_out, "what is not there is in the books");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_room_on_disk_is_in_memory_and_then_decided_early() {
    let scene = Scene::play(3 * BOUND, "directory: held, max_storage_size_mib: 4").await;
    let metrics = &scene.metrics;
    let storage = of(metrics, "storage_bytes");
    assert!((3 * MIB..=4 * MIB).contains(&storage), "{storage}");
    let remembered = of(metrics, "remembered_bytes");
    assert!(of(metrics, "held_bytes") <= BOUND + remembered);
    let refused = |reason| {
        let name = "teleflow_tail_sampling_not_stored_requests_total";
        metrics.sum(name, &[("reason", reason)])
    };
    assert!(refused("full") > 0 && refused("failed") == 0, "{metrics:?}");
    let early = [("trigger", "bytes")];
    assert!(metrics.sum("teleflow_tail_sampling_decisions_total", &early) > 0);
    let (sampled_out, sent, arrived) = scene.end();
    let (mut out, mut arrived_spans) = (0, 0);
    for trace in (0..sent.traces).map(Trace) {
        let Some(parts) = arrived.get(&trace) else {
            assert!(!matches!(trace.kind(), Kind::Failed | Kind::Slow), "{trace:?} is not kept");
            out += u64::from(trace.spans());
            continue;
        };
        assert!(parts.are_all_of(trace), "{trace:?} is kept in part: {parts:?}");
        arrived_spans += u64::from(trace.spans());
    }
    assert_eq!((out, arrived_spans), (sampled_out, sent.spans - sampled_out));
}

#[tokio::test]
async fn a_storage_that_cannot_be_written_to_stops_the_start_and_is_named() {
    let sink = Sink::open().await;
    let sampling = format!("tail_storage: file_storage, policies: [{SLOW}]");
    let config = config(sink.address, &sampling)
        .replace("extensions:\n", "extensions:\n  file_storage: { directory: /no/where }\n")
        .replace("extensions: [admin]", "extensions: [admin, file_storage]");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, config).unwrap();
    let program = env!("CARGO_BIN_EXE_teleflow");
    let run = std::process::Command::new(program).args(["run", "--config"]).arg(&file).output();
    let run = run.unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    let why = "processors.tail_sampling: extensions.file_storage.directory: there is no folder \
               /no/where; `create_directory: true` makes it";
    assert!(!run.status.success() && said.contains(why), "{said}");
}
