//! What of a hundred or a thousand latencies the slowest took.

/// The middle and the tail of some latencies, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latencies {
    /// What half of them took longer than.
    pub p50: f64,
    /// What one in a hundred took longer than.
    pub p99: f64,
    /// What one in a thousand took longer than.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latencies {
    /// Of microseconds in ascending order; all are 0 where there are none.
    pub fn of(sorted: &[u32]) -> Self {
        let at = |per_mille: usize| {
            let index = sorted.len() * per_mille / 1000;
            let index = index.min(sorted.len().saturating_sub(1));
            sorted.get(index).map_or(0.0, |micros| f64::from(*micros) / 1e3)
        };
        Self { p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_what_the_rest_took_longer_than() {
        let micros: Vec<u32> = (0..10_000).collect();
        let latencies = Latencies::of(&micros);
        assert_eq!(latencies, Latencies { p50: 5.0, p99: 9.9, p999: 9.99, max: 9.999 });
    }

    #[test]
    fn few_are_their_own_percentiles() {
        assert_eq!(Latencies::of(&[]), Latencies::default());
        let one = Latencies::of(&[1500]);
        assert_eq!((one.p50, one.p99, one.p999, one.max), (1.5, 1.5, 1.5, 1.5));
        assert_eq!(Latencies::of(&[1000, 3000]).p50, 3.0);
    }
}
