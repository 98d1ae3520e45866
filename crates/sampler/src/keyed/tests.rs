//! What holds whatever comes.

use super::*;

fn configs() -> Vec<Config> {
    let mut configs = Vec::new();
    for (goal, weigh) in [
        (Goal::PerKey(3.0), Weigh::Equal),
        (Goal::PerKey(0.1), Weigh::Equal),
        (Goal::Total(5.0), Weigh::Equal),
        (Goal::Total(0.5), Weigh::Equal),
        (Goal::Total(5.0), Weigh::Logarithm(1.0)),
        (Goal::Total(500.0), Weigh::Logarithm(4.0)),
        (Goal::Share(0.1), Weigh::Logarithm(1.0)),
    ] {
        for forecast in [Forecast::Rising, Forecast::Average(0.5), Forecast::Mean(4)] {
            let window = Duration::from_secs(2);
            let max_keys = if configs.len() % 2 == 0 { 3 } else { 100 };
            configs.push(Config { goal, weigh, forecast, window, max_keys, initial: 0.3 });
        }
    }
    configs
}

#[test]
fn a_probability_is_one_and_it_is_what_was_foretold() {
    let mut rng = fastrand::Rng::with_seed(1);
    for config in configs() {
        for counts_spans in [false, true] {
            let mut keyed = Keyed::new(config);
            let mut now = Instant::now();
            for _ in 0..3000 {
                if rng.u8(..10) == 0 {
                    let most = [10, 1000, 9000][rng.usize(..3)];
                    now += Duration::from_millis(rng.u64(..most));
                }
                keyed.turn(now);
                let weight = match (counts_spans, rng.u8(..20)) {
                    (false, _) => 1.0,
                    (true, 0) => f64::from(rng.u32(1..100_000)),
                    (true, _) => f64::from(rng.u32(1..20)),
                };
                let key = rng.u64(..9) * rng.u64(..9);
                let foretold = keyed.peek(key, weight).probability;
                let probability = keyed.ask(now, key, weight);
                let is_one = probability > 0.0 && probability <= 1.0;
                assert!(is_one, "{probability} of weight {weight}: {config:?}");
                assert_eq!(probability, foretold, "{config:?}");
                if rng.f64() < probability {
                    keyed.count_kept(key, weight);
                }
            }
        }
    }
}

#[test]
fn what_stands_for_no_trace_counts_for_none() {
    for config in configs() {
        let mut keyed = Keyed::new(config);
        let now = Instant::now();
        let first = keyed.ask(now, 1, 0.0);
        for _ in 0..100 {
            assert_eq!(keyed.ask(now, 1, 0.0), first);
        }
        assert_eq!((keyed.stats().seen, keyed.stats().keys), (0, 0));
    }
}
