//! How many requests at a time, from how long they take. Reads no clock.

use std::time::{Duration, Instant};

use super::AdaptiveConcurrencyConfig;

/// What a request says of the destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sample {
    /// It was answered, after so long.
    Answered(Duration),
    /// It was turned away for too much load, or not answered at all.
    Overload,
    /// Nothing: it failed for another reason.
    Nothing,
}

/// Decides on a limit: one more a round trip as long as round trips do not get longer, a part less
/// as soon as they do or the destination says that it has too much to do.
///
/// How long a round trip usually takes is a moving average, and how much longer than that is too
/// long a multiple of its deviation: as Vector does it. An average follows where it is led in small
/// steps, though, and so a limit that grows one by one would not see that it has gone too far. So a
/// round trip is also too long at about twice the shortest, which leaves a queue as long as the
/// destination's capacity. The shortest is forgotten every thousand round trips, with half of the
/// limit for it to be seen anew: a destination may have moved.
///
/// Decisions are made once in a round trip: what was decided has to show first.
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_exporter::{AdaptiveConcurrencyConfig, Controller, Sample};
///
/// let now = Instant::now();
/// let mut controller = Controller::new(AdaptiveConcurrencyConfig::default())?;
/// let usual = Sample::Answered(Duration::from_millis(10));
/// for round in 0..10 {
///     // All that was allowed was used.
///     controller.used(controller.limit());
///     controller.sample(now + Duration::from_millis(20) * round, usual);
/// }
/// assert!(controller.limit() > 5);
/// # Ok::<(), teleflow_exporter::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Controller {
    config: AdaptiveConcurrencyConfig,
    limit: usize,
    usual: Option<Average>,
    /// The shortest mean of a round, in seconds, in so many rounds.
    shortest: Option<f64>,
    rounds: u32,
    /// Since the last decision.
    round: Round,
    decide_at: Option<Instant>,
}

/// What happened since the last decision.
#[derive(Debug, Default)]
struct Round {
    /// Of the round trips, in seconds.
    sum: f64,
    count: u32,
    /// Too much load was said, and the limit is lower for it already.
    overload: bool,
    /// The limit was reached: without that, nothing says that more would go well.
    reached: bool,
}

/// An exponentially weighted mean, and the variance around it.
#[derive(Clone, Copy, Debug)]
struct Average {
    mean: f64,
    variance: f64,
}

/// So many times the shortest round trip is too long.
const TOO_LONG: f64 = 2.0;

/// After so many rounds the shortest round trip is looked for anew.
const ROUNDS: u32 = 1000;

/// Without an answer to measure, a decision is made so often.
const ROUND: Duration = Duration::from_secs(1);

// === impl Controller ===

impl Controller {
    /// Starts at [`initial`](AdaptiveConcurrencyConfig::initial).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrapper`](crate::ConfigError::Wrapper) where a field is outside of its range.
    pub fn new(config: AdaptiveConcurrencyConfig) -> Result<Self, crate::ConfigError> {
        let refuse = |problem| Err(crate::ConfigError::Wrapper(problem));
        if config.initial > config.max {
            return refuse("the initial concurrency is over the maximum");
        }
        if !(config.decrease > 0.0 && config.decrease < 1.0) {
            return refuse("the decrease of concurrency is not between 0 and 1");
        }
        if !(config.weight > 0.0 && config.weight < 1.0) {
            return refuse("the weight of a round trip is not between 0 and 1");
        }
        if !(config.deviations.is_finite() && config.deviations >= 0.0) {
            return refuse("the deviation of round trips is not a number from 0");
        }
        let limit = config.initial.get();
        Ok(Self {
            config,
            limit,
            usual: None,
            shortest: None,
            rounds: 0,
            round: Round::default(),
            decide_at: None,
        })
    }

    /// How many requests may be under way now. From 1 to the maximum.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// So many requests are under way, with the one that has just started.
    pub fn used(&mut self, in_flight: usize) {
        self.round.reached |= in_flight >= self.limit;
    }

    /// A request is over, at `now`.
    pub fn sample(&mut self, now: Instant, sample: Sample) {
        let is_over = self.decide_at.is_some_and(|at| now >= at);
        match sample {
            Sample::Nothing => {}
            Sample::Answered(took) => {
                self.round.sum += took.as_secs_f64();
                self.round.count += 1;
                match self.decide_at {
                    // The first is what is usual, until more is known.
                    None => self.begin(now),
                    Some(_) if is_over => self.decide(now),
                    Some(_) => {}
                }
            }
            Sample::Overload => {
                if is_over {
                    self.decide(now);
                }
                // At once, for who is refused makes room for the next to be refused; and the others
                // of the same round trip say nothing new.
                if !self.round.overload {
                    self.decrease();
                    self.begin(now);
                    self.round.overload = true;
                }
            }
        }
    }

    fn decrease(&mut self) {
        self.limit = ((self.limit as f64 * self.config.decrease) as usize).max(1);
    }

    fn decide(&mut self, now: Instant) {
        let Round { sum, count, overload, reached } = self.round;
        let mean = (count > 0).then(|| sum / f64::from(count));
        let (is_quick, is_slow) = match (self.usual, mean) {
            (Some(usual), Some(mean)) => {
                let deviation = self.config.deviations * usual.variance.sqrt();
                let shortest = self.shortest.unwrap_or(mean);
                // Where nothing ever deviates, the usual is not slow.
                let is_unusual = mean > usual.mean * (1.0 + 1e-6) && mean >= usual.mean + deviation;
                let is_long = mean >= TOO_LONG * shortest + deviation && mean > shortest;
                // Sums of the same figures differ in the last digits.
                (mean <= usual.mean * (1.0 + 1e-6), is_unusual || is_long)
            }
            _ => (false, false),
        };
        if is_slow && !overload {
            self.decrease();
        } else if is_quick && reached && !overload {
            self.limit = (self.limit + 1).min(self.config.max.get());
        }
        self.rounds += 1;
        if self.rounds >= ROUNDS {
            (self.rounds, self.shortest) = (0, None);
            self.limit = (self.limit / 2).max(1);
        }
        self.begin(now);
    }

    /// Enters the round into what is usual, and begins the next.
    fn begin(&mut self, now: Instant) {
        let Round { sum, count, .. } = std::mem::take(&mut self.round);
        if count > 0 {
            let mean = sum / f64::from(count);
            let weight = self.config.weight;
            self.shortest = Some(self.shortest.map_or(mean, |shortest| shortest.min(mean)));
            self.usual = Some(match self.usual {
                Some(usual) => usual.with(mean, weight),
                None => Average { mean, variance: 0.0 },
            });
        }
        let round = self.usual.and_then(|usual| Duration::try_from_secs_f64(usual.mean).ok());
        let round = round.unwrap_or(ROUND);
        self.decide_at = Some(now.checked_add(round).unwrap_or(now));
    }
}

// === impl Average ===

impl Average {
    fn with(self, value: f64, weight: f64) -> Self {
        let difference = value - self.mean;
        let increment = weight * difference;
        Self {
            mean: self.mean + increment,
            variance: (1.0 - weight) * (self.variance + difference * increment),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    use std::num::NonZeroUsize;

    use super::*;

    /// A destination that works on `capacity` requests at a time, each for `service`, and lets the
    /// others wait; beyond `refuse` of them it refuses. Sends as many as the controller allows, for
    /// `seconds`, and gives the limits of the second half.
    fn simulate(capacity: usize, refuse: usize, seconds: u64, seed: u64) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut controller = Controller::new(AdaptiveConcurrencyConfig::default()).unwrap();
        let start = Instant::now();
        let end = Duration::from_secs(seconds);
        let mut now = Duration::ZERO;
        // When each request ends, when it began, and whether it is served.
        let mut flying = BinaryHeap::new();
        // When each of the destination's places is free.
        let mut places = vec![Duration::ZERO; capacity];
        let mut limits = Vec::new();
        while now < end {
            while flying.len() < controller.limit() {
                let begun = now;
                let place = places.iter_mut().min().unwrap();
                let busy = flying.len();
                if busy >= refuse {
                    flying.push(Reverse((now + Duration::from_millis(1), begun, false)));
                } else {
                    let service = Duration::from_micros(9_000 + random.u64(..2_000));
                    *place = (*place).max(now) + service;
                    flying.push(Reverse((*place, begun, true)));
                }
                controller.used(flying.len());
            }
            let Reverse((done, begun, served)) = flying.pop().unwrap();
            now = done;
            let sample = if served { Sample::Answered(done - begun) } else { Sample::Overload };
            controller.sample(start + now, sample);
            if now > end / 2 {
                limits.push(controller.limit());
            }
        }
        limits
    }

    fn mean(limits: &[usize]) -> f64 {
        limits.iter().sum::<usize>() as f64 / limits.len() as f64
    }

    #[test]
    fn it_finds_the_capacity_of_a_destination_that_gets_slower() {
        for capacity in [4, 20] {
            for seed in 0..3 {
                let limits = simulate(capacity, usize::MAX, 40, seed);
                let mean = mean(&limits);
                let capacity = capacity as f64;
                assert!(mean > 0.8 * capacity && mean < 3.0 * capacity, "{capacity}: {mean}");
            }
        }
    }

    #[test]
    fn it_stays_under_what_a_destination_refuses() {
        for seed in 0..3 {
            let limits = simulate(100, 30, 20, seed);
            let (mean, most) = (mean(&limits), *limits.iter().max().unwrap());
            assert!(mean > 15.0 && mean <= 31.0 && most <= 34, "{mean} {most}");
        }
    }

    fn controller() -> (Controller, Instant) {
        (Controller::new(AdaptiveConcurrencyConfig::default()).unwrap(), Instant::now())
    }

    #[test]
    fn overload_takes_a_part_of_it_once_in_a_round_trip_and_never_the_last() {
        let (mut controller, start) = controller();
        controller.limit = 100;
        let usual = Duration::from_millis(10);
        controller.sample(start, Sample::Answered(usual));
        let later = start + usual;
        for _ in 0..50 {
            controller.sample(later, Sample::Overload);
        }
        assert_eq!(controller.limit(), 90);
        for round in 2..200 {
            controller.sample(start + usual * round, Sample::Overload);
        }
        assert_eq!(controller.limit(), 1);
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let (mut controller, start) = controller();
        for round in 0..100 {
            controller.used(0);
            let at = start + Duration::from_millis(10) * round;
            controller.sample(at, Sample::Answered(Duration::from_millis(5)));
        }
        assert_eq!(controller.limit(), 1);
    }

    #[test]
    fn failures_of_other_kinds_say_nothing() {
        let (mut controller, start) = controller();
        for round in 0..100 {
            controller.used(1);
            controller.sample(start + Duration::from_secs(round), Sample::Nothing);
        }
        assert_eq!(controller.limit(), 1);
    }

    #[test]
    fn extreme_samples_do_not_panic_and_impossible_settings_are_refused() {
        let (mut controller, start) = controller();
        for took in [Duration::ZERO, Duration::MAX, Duration::ZERO, Duration::MAX] {
            controller.used(usize::MAX);
            controller.sample(start, Sample::Answered(took));
            controller.sample(start + Duration::from_secs(1), Sample::Overload);
        }
        assert!(controller.limit() >= 1);
        let default = AdaptiveConcurrencyConfig::default();
        let many = NonZeroUsize::new(1000).unwrap();
        for config in [
            AdaptiveConcurrencyConfig { initial: many, ..default },
            AdaptiveConcurrencyConfig { decrease: 1.0, ..default },
            AdaptiveConcurrencyConfig { weight: f64::NAN, ..default },
            AdaptiveConcurrencyConfig { deviations: -1.0, ..default },
        ] {
            assert!(Controller::new(config).is_err(), "{config:?}");
        }
    }
}
