//! What can be asked of a sampler at work: to take other rules, and whether there is room.

use super::{Config, ConfigError, TailSampler};

// === impl TailSampler ===

impl TailSampler {
    /// Works as `config` says from now on. What is held stays, and is decided by the new rules;
    /// decisions that were made are remembered; waits are those of traces that begin from now on.
    /// The secret stays the one that the sampler began with.
    ///
    /// # Errors
    ///
    /// What [`TailSampler::new`] finds wrong. Nothing changes then.
    pub fn reconfigure(&mut self, config: Config) -> Result<(), ConfigError> {
        let new = Self::new(Config { hash_seed: self.config.hash_seed, ..config })?;
        (self.config, self.engine) = (new.config, new.engine);
        Ok(())
    }

    /// Whether as many undecided traces are held as may be.
    pub fn is_full(&self) -> bool {
        self.table.traces() >= self.config.max_traces
    }
}
