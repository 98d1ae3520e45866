//! Bounded work: semaphore, byte budget, rate limiter, worker pool, breaker, shutdown.
//!
//! Nothing here grows without a limit, and what happens at the limit is a named choice. Decisions
//! take `now` as an argument or read tokio's clock, which a test can pause. Every future says what
//! dropping it does.

#![forbid(unsafe_code)]

mod account;
mod adaptive_buffer;
mod breaker;
mod budget;
mod fan_out;
mod latency;
mod leaks;
mod panic;
mod rate_limiter;
#[cfg(feature = "runtime")]
mod runtime;
mod scale;
mod semaphore;
mod sharded;
mod shutdown;
mod stages;
mod sync;
mod wake;
mod worker_pool;

pub use self::account::Denied;
pub use self::adaptive_buffer::{
    AdaptiveBuffer, AdaptiveBufferConfig, AdaptiveBufferConfigError, AdaptiveBufferStats, Resized,
    SendError,
};
pub use self::breaker::{
    Breaker, BreakerConfig, BreakerConfigError, BreakerState, BreakerStats, BreakerTime, Call,
    CallError, FailureRate, Refused, Unfinished,
};
pub use self::budget::{Budget, BudgetStats, Permit};
pub use self::fan_out::{Errors, FanOut, Order};
pub use self::latency::{Latency, LatencySnapshot};
pub use self::leaks::{Growth, SiteGrowth, TaskMonitor, TaskStats, Tracked};
pub use self::rate_limiter::{
    KeyedRateLimiter, Limited, OnManyKeys, Rate, RateError, RateLimiter, RateLimiterStats,
};
#[cfg(feature = "runtime")]
pub use self::runtime::{RuntimePreset, ThreadNames, Unusual};
pub use self::scale::{Scale, ScaleLimits, ScaleSample};
pub use self::semaphore::{
    OwnedSemaphorePermit, Permit as AnySemaphorePermit, Semaphore, SemaphorePermit, SemaphoreStats,
};
pub use self::shutdown::{Shutdown, ShutdownPhase, ShutdownReport};
pub use self::stages::{Line, Running, StageConfig, StageOrder, StagePanicked, StageStats, Stages};
pub use self::worker_pool::{
    Overflow, Rejected, Results, TaskError, TaskHandle, WorkerPool, WorkerPoolConfig,
    WorkerPoolConfigError, WorkerPoolStats,
};
