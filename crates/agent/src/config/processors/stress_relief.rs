//! `stress_relief` of a tail sampler.

use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};

/// Under pressure, traces are decided by chance as soon as they begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct StressRelief {
    /// Whether the level says when (`mode: monitor`), or it is always so (`always`).
    pub(crate) is_always: bool,
    /// The level from which on it is active, in percent. Default 90. 1 to 100.
    pub(crate) activation_level: u8,
    /// The level below which it ends, in percent. Default 75. Less than the other.
    pub(crate) deactivation_level: u8,
    /// One of so many traces is kept. Default 100. At least 1.
    pub(crate) sampling_rate: u64,
    /// `minimum_activation_duration`: how long the level has to be low before it ends. Default 10 s.
    pub(crate) at_least: Duration,
}

/// As in Refinery.
const DEFAULT: StressRelief = StressRelief {
    is_always: false,
    activation_level: 90,
    deactivation_level: 75,
    sampling_rate: 100,
    at_least: Duration::from_secs(10),
};

/// What `mode` says.
#[derive(Clone, Copy)]
enum Mode {
    Never,
    Monitor,
    Always,
}

const MODES: [(&str, Mode); 3] =
    [("never", Mode::Never), ("monitor", Mode::Monitor), ("always", Mode::Always)];

/// Reads the section; `None` where there is to be no relief.
pub(super) fn read(keys: &mut Keys<'_>) -> Option<StressRelief> {
    keys.value("stress_relief")?.section(later::NONE, |keys| {
        let mode = keys.value("mode").and_then(|at| at.one_of(&MODES, later::NONE));
        let level = |at: &Option<At<'_>>, range, default| {
            // It is within 100.
            at.as_ref().and_then(|at| at.whole(range)).map_or(default, |level| level as u8)
        };
        let activation = keys.value("activation_level");
        let activation_level = level(&activation, 1..=100, DEFAULT.activation_level);
        let deactivation = keys.value("deactivation_level");
        let deactivation_level = level(&deactivation, 0..=100, DEFAULT.deactivation_level);
        if deactivation_level >= activation_level
            && let Some(at) = deactivation.or(activation)
        {
            let must = format!(
                "be such that deactivation_level, {deactivation_level}, is less than \
                 activation_level, {activation_level}"
            );
            at.refuse(&must, None);
        }
        let rate = keys.value("sampling_rate").and_then(|at| at.whole(1..=u32::MAX.into()));
        let at_least = keys.value("minimum_activation_duration").and_then(|at| at.duration());
        let mode = mode.unwrap_or(Mode::Monitor);
        (!matches!(mode, Mode::Never)).then_some(StressRelief {
            is_always: matches!(mode, Mode::Always),
            activation_level,
            deactivation_level,
            sampling_rate: rate.unwrap_or(DEFAULT.sampling_rate),
            at_least: at_least.unwrap_or(DEFAULT.at_least),
        })
    })
}
