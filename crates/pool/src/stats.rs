//! What a pool did and has.

/// The figures of a pool, since it was built.
///
/// An object in use is one that was created and is neither dropped nor available, see
/// [`in_use`](Self::in_use).
///
/// ```
/// let pool = teleflow_pool::Pool::builder(String::new).build();
/// drop(pool.acquire());
/// let out = pool.acquire();
/// let stats = pool.stats();
/// assert_eq!((stats.gets, stats.hits, stats.created, stats.in_use()), (2, 1, 1, 1));
/// assert_eq!(stats.hit_rate(), 0.5);
/// # drop(out);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What the pool is called.
    pub name: &'static str,
    /// Objects handed out.
    pub gets: u64,
    /// Of these, objects that were used before or made ahead.
    pub hits: u64,
    /// Objects that came back, whether they were kept or not; detached ones too.
    pub puts: u64,
    /// Objects made by the factory.
    pub created: u64,
    /// Objects that left for good: no room, not worth keeping, panic in the reset, detached, cleared
    /// or not needed for a while.
    pub dropped: u64,
    /// Objects that are there and that no one uses.
    pub available: usize,
}

// === impl Stats ===

impl Stats {
    /// The share of gets that needed no new object, from 0 to 1; 0 before the first.
    pub fn hit_rate(&self) -> f64 {
        if self.gets == 0 { 0.0 } else { self.hits as f64 / self.gets as f64 }
    }

    /// How many objects are out.
    pub fn in_use(&self) -> u64 {
        self.created.saturating_sub(self.dropped).saturating_sub(self.available as u64)
    }

    /// The figures as an exporter of metrics wants them: a name and a value each.
    ///
    /// Those whose name ends in `_total` only grow; the others are levels.
    ///
    /// ```
    /// let pool = teleflow_pool::Pool::builder(String::new).name("texts").build();
    /// drop(pool.acquire());
    /// let stats = pool.stats();
    /// let lines: Vec<String> = stats
    ///     .metrics()
    ///     .iter()
    ///     .map(|(metric, value)| format!("{metric}{{pool=\"{}\"}} {value}", stats.name))
    ///     .collect();
    /// assert_eq!(lines[0], "pool_gets_total{pool=\"texts\"} 1");
    /// ```
    pub fn metrics(&self) -> [(&'static str, f64); 8] {
        [
            ("pool_gets_total", self.gets as f64),
            ("pool_hits_total", self.hits as f64),
            ("pool_puts_total", self.puts as f64),
            ("pool_created_total", self.created as f64),
            ("pool_dropped_total", self.dropped as f64),
            ("pool_available", self.available as f64),
            ("pool_in_use", self.in_use() as f64),
            ("pool_hit_rate", self.hit_rate()),
        ]
    }
}
