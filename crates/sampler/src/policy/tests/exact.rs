//! Thresholds of random policies, without chance: every value of randomness is tried.
//!
//! With shares that are quarters, a trace's randomness matters only by the quarter that it is in. So
//! for a trace of given content the adjusted counts over the four quarters are exactly four, if what
//! is kept of it can be known, or nothing, if it cannot: never anything in between, whatever limits
//! counted before.

use super::*;

const QUARTERS: u32 = 4;

fn policies(rng: &mut fastrand::Rng) -> Policies {
    let policies = (0..rng.usize(1..6)).map(|_| match rng.u8(..4) {
        0 => drop_if(several(rng, 2)),
        _ => policy(rng, 3),
    });
    let policies = policies.collect();
    Policies { first_match: rng.bool(), inverted_votes: rng.bool(), ..config(policies) }
}

fn several(rng: &mut fastrand::Rng, depth: u32) -> Vec<Policy> {
    (0..rng.usize(1..4)).map(|_| policy(rng, depth)).collect()
}

fn policy(rng: &mut fastrand::Rng, depth: u32) -> Policy {
    if depth > 0 && rng.bool() {
        return match rng.u8(..5) {
            0 | 1 => and(several(rng, depth - 1)),
            2 | 3 => not(policy(rng, depth - 1)),
            _ => {
                let parts = several(rng, depth - 1).into_iter();
                composite(9, parts.map(|policy| (policy, 9)).collect())
            }
        };
    }
    match rng.u8(..12) {
        0 => Policy::Always,
        1 => has("a"),
        2 => has_not("a"),
        3 => has("b"),
        4 => has_not("b"),
        5 => spans_a_second(0, 9),
        6 => broken(OnError::Propagate),
        7 => broken(OnError::Ignore),
        8 => salted(0.5, "x"),
        _ => ratio(f64::from(rng.u32(..=QUARTERS)) / f64::from(QUARTERS)),
    }
}

#[test]
fn what_is_known_is_known_for_every_randomness_and_adds_up_exactly() {
    let flag = |key: &str| attribute(key, Value::BoolValue(true));
    let contents = [vec![], vec![flag("a")], vec![flag("b")], vec![flag("a"), flag("b")]];
    let traces = contents.map(|attributes| trace_of(vec![], vec![span(attributes)]));
    let now = Instant::now();
    let (mut known, mut unknown, mut left_out) = (0, 0, 0);
    'sets: for seed in 0..20_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = policies(&mut rng);
        let content = rng.usize(..traces.len());
        let says_odds = rng.bool();
        let (mut sum, mut kept) = (0.0, 0);
        for quarter in 0..QUARTERS {
            let mut set = PolicySet::new(&config).unwrap();
            let random = |rng: &mut fastrand::Rng| u128::from(rng.u64(..)) << 64;
            // Others came before, and limits are more or less used up.
            for _ in 0..rng.usize(..12) {
                let mut other = traces[rng.usize(..traces.len())].trace();
                other.id = (random(&mut rng) | u128::from(rng.u64(..))).to_be_bytes();
                set.decide(now, &other);
            }
            let mut trace = traces[content].trace();
            trace.summary.has_odds = says_odds;
            let width = (1u64 << 56) / u64::from(QUARTERS);
            let bits = width * u64::from(quarter) + rng.u64(..width);
            trace.id = (random(&mut rng) | u128::from(bits)).to_be_bytes();
            if set.is_salted(&trace) {
                // Its randomness is a hash, which cannot be chosen here.
                continue 'sets;
            }
            let verdict = set.decide(now, &trace);
            assert_eq!(verdict.randomness, None);
            kept += u32::from(verdict.is_kept);
            if let Some(threshold) = verdict.threshold {
                assert!(threshold.keeps(trace.randomness()), "seed {seed}: {config:#?}");
                sum += threshold.adjusted_count();
            }
        }
        assert!(sum == 0.0 || sum == f64::from(QUARTERS), "seed {seed}: {sum} with {config:#?}");
        match (sum > 0.0, kept > 0) {
            (true, _) => known += 1,
            (false, true) => unknown += 1,
            (false, false) => left_out += 1,
        }
    }
    // Each comes about often: else little would be tried.
    assert!(known > 2000 && unknown > 2000 && left_out > 2000, "{known} {unknown} {left_out}");
}
