//! Ties the samplers of a lane to those of other pipelines.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::LaneConfig;
use super::RunningLane;
use crate::exchange::{Exchange, ExchangeStats};
use crate::lane::Stages;

/// Starts the task that carries the proposals of a lane's samplers, where they decide together with
/// others.
pub(super) fn share(
    config: &LaneConfig,
    samplers: &[Arc<Stages>],
    tasks: &mut JoinSet<()>,
    end: &CancellationToken,
) {
    let (Some(shared), Some(_)) = (&config.shared, &config.sampler) else { return };
    let exchange = Exchange::new(&config.name, shared.clone(), samplers.len());
    for (stages, desk) in samplers.iter().zip(exchange.desks()) {
        stages.lock().desk = Some(Arc::clone(desk));
    }
    tasks.spawn(exchange.run(end.clone()));
}

// === impl RunningLane ===

impl RunningLane {
    /// What came of deciding together with others; `None` where each decides by itself.
    pub(super) fn exchanged(&self) -> Option<ExchangeStats> {
        // All shards have the same counts.
        let state = self.sampling().first()?.lock();
        state.desk.as_ref().map(|desk| desk.stats())
    }
}
