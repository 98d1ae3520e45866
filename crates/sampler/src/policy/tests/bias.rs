//! What is kept stands for all: the adjusted counts of kept traces add up to the number of traces.

use super::*;

/// Traces of a kind, and whether what is kept of them can say how likely that was.
struct Kind {
    attributes: Vec<KeyValue>,
    spans: usize,
}

fn kinds() -> Vec<Kind> {
    let flag = |key: &str| attribute(key, Value::BoolValue(true));
    vec![
        Kind { attributes: vec![], spans: 1 },
        Kind { attributes: vec![flag("a")], spans: 1 },
        Kind { attributes: vec![flag("b")], spans: 2 },
        Kind { attributes: vec![flag("a"), flag("b")], spans: 3 },
    ]
}

/// Traces on every run of the tests; `TELEFLOW_TRACES` asks for more.
const COUNT: u64 = 50_000;

/// Decides about random traces of every kind, and checks for each kind that the adjusted counts of
/// what was kept with a threshold add up to the number of traces, or, where `is_known` says that
/// nobody can know, that nothing was kept with one.
#[track_caller]
fn check(config: &Policies, is_known: [bool; 4]) {
    let mut set = PolicySet::new(config).unwrap();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut now = Instant::now();
    let kinds = kinds();
    let mut sums = vec![(0.0, 0.0, 0u64); kinds.len()];
    let templates: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let span = Span { attributes: kind.attributes.clone(), ..span(vec![]) };
            trace_of(vec![], vec![span; kind.spans])
        })
        .collect();
    let count = std::env::var("TELEFLOW_TRACES").map_or(COUNT, |count| count.parse().unwrap());
    for n in 0..count {
        now += Duration::from_micros(rng.u64(..20));
        let kind = (n % kinds.len() as u64) as usize;
        let mut trace = templates[kind].trace();
        trace.id = rng.u128(1..).to_be_bytes();
        // Half of the traces say how they were sampled before.
        trace.summary.has_odds = rng.bool();
        let verdict = set.decide(now, &trace);
        let sum = &mut sums[kind];
        sum.2 += 1;
        if let Some(threshold) = verdict.threshold {
            assert!(verdict.is_kept);
            let randomness = verdict.randomness.unwrap_or_else(|| trace.randomness());
            assert!(threshold.keeps(randomness), "whoever reads it must find it kept");
            let count = threshold.adjusted_count();
            sum.0 += count;
            // The variance of a trace's count is c² p - 1 = c - 1, and each kept one stands for c.
            sum.1 += count * (count - 1.0);
        }
    }
    for (kind, (sum, variance, traces)) in sums.iter().enumerate() {
        if is_known[kind] {
            let (error, sigma) = ((sum - *traces as f64).abs(), variance.sqrt());
            assert!(error <= 4.0 * sigma, "kind {kind}: {sum} for {traces}, sigma {sigma}");
            assert!(*sum > 0.0);
        } else {
            assert_eq!(*sum, 0.0, "kind {kind}");
        }
    }
}

/// With all policies asked, and with the first that matches.
#[track_caller]
fn check_both(policies: Vec<Policy>, is_known: [bool; 4]) {
    for first_match in [false, true] {
        check(&Policies { first_match, ..config(policies.clone()) }, is_known);
    }
}

#[test]
fn chance_and_certainty() {
    check_both(vec![ratio(0.1)], [true; 4]);
    check_both(vec![ratio(0.03), has("a"), ratio(0.2)], [true; 4]);
    check_both(vec![has("a"), and(vec![has("b"), ratio(0.3)]), ratio(0.01)], [true; 4]);
    check_both(vec![and(vec![ratio(0.5), has("a")])], [false, true, false, true]);
}

#[test]
fn limits_beside_chance() {
    let limit = || spans_a_second(10_000, 50);
    let shared = || composite(5_000, vec![(has("a"), 2_000), (ratio(0.5), 3_000)]);
    check_both(vec![limit(), ratio(0.1)], [true; 4]);
    check_both(vec![ratio(0.1), limit(), ratio(0.3)], [true; 4]);
    check_both(vec![shared(), ratio(0.1), limit()], [true; 4]);
    check_both(vec![limit(), shared()], [false; 4]);
    check_both(
        vec![and(vec![ratio(0.5), limit()]), and(vec![has("a"), ratio(0.2)])],
        [false, true, false, true],
    );
    check_both(
        vec![and(vec![limit(), has("b")]), not(and(vec![limit(), has("a")]))],
        [true, false, true, false],
    );
}

#[test]
fn opposites() {
    check_both(vec![not(ratio(0.3)), ratio(0.1)], [true; 4]);
    check_both(vec![not(and(vec![has("a"), ratio(0.3)]))], [true, false, true, false]);
    check_both(vec![not(not(ratio(0.3)))], [true; 4]);
    check_both(vec![not(has("a")), ratio(0.05)], [true; 4]);
}

#[test]
fn two_salts() {
    // Of traces that say how they were sampled before all chance is one; of the others the first
    // kind counts. The sums are of both.
    check_both(vec![salted(0.1, "x"), salted(0.3, "x")], [true; 4]);
    check_both(vec![salted(0.1, "x"), salted(0.3, "y"), has("a")], [true; 4]);
    check_both(vec![ratio(0.1), salted(0.3, "y")], [true; 4]);
    check_both(vec![salted(0.3, "y"), ratio(0.1), spans_a_second(10_000, 50)], [true; 4]);
}

#[test]
fn drops_by_chance() {
    check_both(vec![drop_if(vec![has("b")]), ratio(0.1)], [true, true, false, false]);
    check_both(vec![drop_if(vec![has("b"), ratio(0.5)]), ratio(0.7)], [true, true, false, false]);
    check_both(vec![drop_if(vec![ratio(0.5), has("b")]), ratio(0.7)], [true, true, false, false]);
    check_both(vec![drop_if(vec![has("b"), not(ratio(0.2))]), ratio(0.7)], [true; 4]);
    check_both(vec![drop_if(vec![not(ratio(0.2)), has("b")]), has("a"), ratio(0.1)], [true; 4]);
    let sometimes = || drop_if(vec![has("b"), spans_a_second(10_000, 50)]);
    check_both(vec![sometimes(), ratio(0.7)], [true, true, false, false]);
}

#[test]
fn inverted_votes() {
    for first_match in [false, true] {
        let config = |policies: Vec<Policy>| Policies {
            first_match,
            inverted_votes: true,
            ..config(policies)
        };
        let veto = || has_not("b");
        check(
            &config(vec![ratio(0.1), veto()]),
            [
                true,
                true,
                // With a first match, what chance keeps before the veto is kept.
                first_match,
                first_match,
            ],
        );
        check(
            &config(vec![ratio(0.1), veto(), ratio(0.5)]),
            [true, true, first_match, first_match],
        );
        check(&config(vec![veto(), ratio(0.1)]), [true, true, false, false]);
        check(&config(vec![veto()]), [true, true, false, false]);
        check(&config(vec![veto(), has("a")]), [false, true, false, false]);
    }
}

#[test]
fn errors_beside_chance() {
    let broken = || broken(OnError::Propagate);
    check_both(vec![and(vec![ratio(0.5), broken()]), ratio(0.1)], [true; 4]);
    check_both(vec![not(and(vec![ratio(0.5), broken()]))], [false; 4]);
    check_both(
        vec![not(and(vec![ratio(0.5), broken(), has("a")])), has("b")],
        [false, false, true, true],
    );
    check_both(vec![drop_if(vec![not(and(vec![ratio(0.5), broken()]))]), has("b")], [false; 4]);
    let config = |policies: Vec<Policy>| Policies { inverted_votes: true, ..config(policies) };
    check(&config(vec![broken(), has_not("a")]), [true, false, true, false]);
    // It is kept only where chance had the other not vote against it, and it could not be asked.
    check(&config(vec![and(vec![ratio(0.5), broken()]), has_not("a")]), [false; 4]);
}
