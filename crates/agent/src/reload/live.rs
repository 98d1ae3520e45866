//! What can change while a pipeline runs.

use teleflow::{Pipeline, sampler};

/// Has a lane sample by other rules.
pub(super) fn change_sampler(_: &Pipeline, lane: &str, _: sampler::Config) -> Result<(), String> {
    Err(format!("the sampler of {lane} takes other rules only at a restart"))
}
