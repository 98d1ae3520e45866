//! Bounded work: semaphore, byte budget, rate limiter, worker pool, breaker, shutdown.
