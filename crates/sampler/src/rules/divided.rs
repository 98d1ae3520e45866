//! What one of several samplers is to do that share the traces.

use std::num::NonZeroUsize;

use super::DynamicSampler;

// === impl DynamicSampler ===

impl DynamicSampler {
    /// The part of one of so many that traces are spread among, evenly: of what is allowed a second,
    /// goals and rate limits. A rate limit is rounded up; bursts and shares stay.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use teleflow_sampler::DynamicSampler;
    ///
    /// let whole = DynamicSampler::RateLimit { spans_per_second: 1000, burst: 500 };
    /// let of_three = whole.divided(NonZeroUsize::new(3).ok_or("three is not zero")?);
    /// assert_eq!(of_three, DynamicSampler::RateLimit { spans_per_second: 334, burst: 500 });
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn divided(&self, among: NonZeroUsize) -> Self {
        self.part(among.get(), |whole| whole.div_ceil(among.get() as u64))
    }

    /// The part of one of so many, which has so much of a count.
    pub(crate) fn part(&self, of: usize, of_count: impl Fn(u64) -> u64) -> Self {
        let mut part = self.clone();
        match &mut part {
            Self::AdaptiveThroughput { goal, .. } | Self::PerKeyThroughput { goal, .. } => {
                *goal /= of as f64;
            }
            Self::RateLimit { spans_per_second, burst: _ } => {
                *spans_per_second = of_count(*spans_per_second);
            }
            Self::Always | Self::Never | Self::Ratio(_) | Self::AdaptivePercentage { .. } => {}
        }
        part
    }
}
