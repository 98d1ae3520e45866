//! Policies of one's own.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::Trace;

/// Decides about traces by rules of its own.
///
/// It runs where the sampler does, and while it does nothing else is decided: it must not wait for
/// anything. What it panics with comes out of the call to the sampler.
pub trait Decider: fmt::Debug + Send + Sync {
    /// Whether it keeps a trace, by what is there of it. `None`: it cannot tell, has no vote, and that
    /// is counted as an error.
    fn keeps(&self, now: Instant, trace: &Trace<'_>) -> Option<bool>;

    /// Whether its answers depend on nothing but the spans of the trace: neither on chance, nor on the
    /// time, nor on what it was asked before. So they do where nothing else is said.
    ///
    /// What such a decider keeps was certain to be kept, and it may be asked about a trace more than
    /// once. Any other is asked once, and how likely it was to keep a trace nobody knows: what it alone
    /// keeps has no threshold.
    fn is_certain(&self) -> bool {
        true
    }
}

/// A policy in Rust: a [`Decider`] under a name.
///
/// A sampler makes one for itself when it is configured. What is in it is to be bounded by itself.
/// Policies are taken for the same, and keep what they counted when a sampler is configured anew,
/// where their names are the same: so a name should tell all that makes a difference.
///
/// ```
/// use std::collections::BTreeSet;
/// use std::time::Instant;
/// use teleflow_sampler::{Custom, Decider, Gathered, Policy, Rule, Trace, explain};
///
/// /// Keeps traces that went through so many services.
/// #[derive(Debug)]
/// struct Services(usize);
///
/// impl Decider for Services {
///     fn keeps(&self, _: Instant, trace: &Trace<'_>) -> Option<bool> {
///         let mut services = BTreeSet::new();
///         Some(trace.any(|span| {
///             let name = span.resource_attribute("service.name");
///             services.extend(name.and_then(|name| name.as_str().map(str::to_owned)));
///             services.len() >= self.0
///         }))
///     }
/// }
///
/// let far = Custom::new("three services", || Services(3));
/// let rules = vec![Rule::new("far", Policy::Custom(far))].into();
/// let none = Gathered::new([1; 16], []);
/// let explanation = explain(&rules, Instant::now(), &none.trace())?;
/// assert_eq!(explanation.votes[0].why, "`three services` does not keep it");
/// # Ok::<(), teleflow_sampler::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Custom {
    name: Arc<str>,
    make: Arc<dyn Fn() -> Box<dyn Decider> + Send + Sync>,
}

/// A [`Custom`] at work. A clone has counted nothing.
pub(crate) struct Running {
    custom: Custom,
    decider: Box<dyn Decider>,
}

// === impl Custom ===

impl Custom {
    /// A policy that is made by a function: once for each sampler, and so for each of several shards.
    pub fn new<D: Decider + 'static>(
        name: impl Into<String>,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into().into(), make: Arc::new(move || Box::new(make())) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether what it makes depends on nothing but the trace.
    pub(crate) fn is_certain(&self) -> bool {
        (self.make)().is_certain()
    }
}

impl PartialEq for Custom {
    /// By name.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Custom").field(&self.name).finish()
    }
}

// === impl Running ===

impl Running {
    pub(crate) fn new(custom: &Custom) -> Self {
        Self { custom: custom.clone(), decider: (custom.make)() }
    }

    pub(crate) fn is_certain(&self) -> bool {
        self.decider.is_certain()
    }

    pub(crate) fn keeps(&self, now: Instant, trace: &Trace<'_>) -> Option<bool> {
        self.decider.keeps(now, trace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.custom.name
    }
}

impl Clone for Running {
    fn clone(&self) -> Self {
        Self::new(&self.custom)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decider.fmt(f)
    }
}
