//! Many traces, torn between several samplers.

use super::*;

/// What came of a run.
struct Seen {
    /// The traces that each sampler kept spans of, of those that it had spans of.
    kept: Vec<BTreeSet<Vec<u8>>>,
    /// The traces that each had spans of, and those with an error in any span.
    came: Vec<BTreeSet<Vec<u8>>>,
    failed: BTreeSet<Vec<u8>>,
    /// What the kept spans stand for.
    estimate: f64,
    stats: Vec<SharingStats>,
}

/// Sends the spans of traces to samplers at random, each within `apart` of the first. One of ten
/// traces has an error, in one span.
fn run(seed: u64, configs: Vec<Config>, traces: usize, apart: Duration) -> Seen {
    let mut rng = fastrand::Rng::with_seed(seed);
    let count = configs.len();
    let mut world = World::new(configs);
    world.delay = 3 * MILLI;
    let mut seen = Seen {
        kept: vec![BTreeSet::new(); count],
        came: vec![BTreeSet::new(); count],
        failed: BTreeSet::new(),
        estimate: 0.0,
        stats: Vec::new(),
    };
    let mut coming: BTreeMap<u64, Vec<(usize, Span)>> = BTreeMap::new();
    for trace in 0..traces as u64 {
        let id = rng.u128(1..).to_be_bytes();
        let fails = rng.u8(..10) == 0;
        let spans = rng.u64(1..6);
        for at in 0..spans {
            let (to, name) = (rng.usize(..12) % count, format!("{trace} {at}"));
            let is_failed = fails && at == 0;
            let span = if is_failed { failed(id, &name) } else { span(id, &name) };
            seen.came[to].insert(id.to_vec());
            if is_failed {
                seen.failed.insert(id.to_vec());
            }
            let millis = trace + rng.u64(..=apart.as_millis() as u64);
            coming.entry(millis).or_default().push((to, span));
        }
    }
    let last = coming.keys().last().copied().unwrap_or(0);
    for millis in 0..=last + 4000 {
        for (to, span) in coming.remove(&millis).unwrap_or_default() {
            world.offer(to, vec![span]);
        }
        world.pass(MILLI);
    }
    for (at, node) in world.samplers.iter_mut().enumerate() {
        assert_eq!(node.sampler.held().spans, 0);
        assert_eq!(node.offered, node.kept.len() as u64 + node.sampled_out);
        assert_eq!(node.sampler.stats().sharing.waiting, 0);
        seen.stats.push(node.sampler.stats().sharing);
        for span in &node.kept {
            let count = TraceState::parse(&span.trace_state).threshold().unwrap().adjusted_count();
            seen.estimate += count;
            seen.kept[at].insert(span.trace_id.clone());
        }
    }
    seen
}

impl Seen {
    /// How many traces one sampler kept and another one left out.
    fn torn(&self) -> usize {
        let all: BTreeSet<_> = self.came.iter().flatten().collect();
        let is_torn = |id: &&Vec<u8>| {
            let those = (0..self.came.len()).filter(|&at| self.came[at].contains(*id));
            those.map(|at| self.kept[at].contains(*id)).collect::<BTreeSet<_>>().len() > 1
        };
        all.into_iter().filter(is_torn).count()
    }

    /// How many traces with an error nobody kept.
    fn lost(&self) -> usize {
        let is_lost = |id: &&Vec<u8>| self.kept.iter().all(|kept| !kept.contains(*id));
        self.failed.iter().filter(is_lost).count()
    }
}

#[test]
fn samplers_that_share_tear_no_trace_and_others_do() {
    let rules = || errors_and(10.0);
    let apart = SECOND - 50 * MILLI;
    let together = run(1, vec![shared(rules()); 3], 1500, apart);
    assert_eq!((together.torn(), together.lost()), (0, 0));
    assert!(together.kept.iter().any(|kept| !kept.is_empty()));
    assert!(together.stats.iter().all(|stats| (stats.alone, stats.untold) == (0, 0)));
    assert!(together.stats.iter().all(|stats| stats.kept_by_others > 0));
    let each = run(1, vec![config(rules()); 3], 1500, apart);
    assert!(each.torn() > 50, "{} of 1500", each.torn());
}

#[test]
fn they_keep_what_one_would_that_has_all_spans() {
    let waits = |config| Config { decision_wait: 2 * SECOND, ..config };
    let one = run(2, vec![waits(config(errors_and(20.0)))], 1500, SECOND / 2);
    let three = run(2, vec![waits(shared(errors_and(20.0))); 3], 1500, SECOND / 2);
    let all: BTreeSet<_> = three.kept.iter().flatten().cloned().collect();
    assert!(all.len() > 300);
    assert_eq!(all, one.kept[0]);
    assert_eq!((three.torn(), three.lost()), (0, 0));
    // So what they keep stands for all that came as what one keeps does.
    let off = (three.estimate - one.estimate).abs();
    assert!(off < 1e-6 * one.estimate, "with other thresholds: off by {off}");
}

#[test]
fn where_spans_come_late_they_agree_still() {
    let together = run(3, vec![shared(errors_and(10.0)); 2], 1000, 3 * SECOND);
    assert_eq!(together.torn(), 0);
    assert!(together.lost() > 0, "who knew the reason came too late");
}

#[test]
fn under_pressure_and_without_answers_nothing_is_lost() {
    for seed in 20..24 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let tight = |rng: &mut fastrand::Rng| Config {
            max_traces: rng.usize(50..2000),
            max_bytes: rng.usize(70_000..300_000),
            max_trace_spans: Some(rng.u64(1..6)),
            decision_wait_after_root: rng.bool().then_some(SECOND / 5),
            remembered: Remembered { kept: rng.usize(..3000), dropped: rng.usize(..3000) },
            hash_seed: seed,
            sharing: Some(Sharing {
                grace: rng.u32(..1500) * MILLI,
                patience: rng.u32(..10) * MILLI,
            }),
            ..config(errors_and(20.0))
        };
        let configs = vec![tight(&mut rng), tight(&mut rng)];
        // It asserts the books at every step, and that nothing is held in the end.
        run(seed, configs, 1000, SECOND);
    }
}
