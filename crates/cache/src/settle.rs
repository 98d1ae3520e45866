//! What several processes settle together.

use std::time::Duration;

use bytes::Bytes;

use crate::second::SecondLevelError;

/// A store in which the first to write a key decides for all: whoever writes is told what is there
/// then.
///
/// # Examples
///
/// One process that settles with itself:
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use std::time::Duration;
/// use bytes::Bytes;
/// use teleflow_cache::{Claim, SecondLevelError, Settle};
///
/// #[derive(Default)]
/// struct Alone(Mutex<HashMap<Bytes, Bytes>>);
///
/// impl Settle for Alone {
///     async fn settle_many(
///         &self,
///         claims: &[Claim],
///         _: Duration,
///     ) -> Result<Vec<Option<Bytes>>, SecondLevelError> {
///         let mut places = self.0.lock().map_err(|_| SecondLevelError::Refused)?;
///         let settle = |claim: &Claim| {
///             if claim.replaces {
///                 places.insert(claim.key.clone(), claim.value.clone());
///             }
///             Some(places.entry(claim.key.clone()).or_insert(claim.value.clone()).clone())
///         };
///         Ok(claims.iter().map(settle).collect())
///     }
/// }
/// ```
pub trait Settle: Send + Sync {
    /// Writes all claims, each for `ttl`, in as few round trips as possible, and returns what is
    /// there then, in their order; `None` where that is not known.
    ///
    /// Claims of one key are written in their order.
    ///
    /// # Cancel safety
    ///
    /// Of a call that is dropped some claims may be written, and some not.
    fn settle_many(
        &self,
        claims: &[Claim],
        ttl: Duration,
    ) -> impl Future<Output = Result<Vec<Option<Bytes>>, SecondLevelError>> + Send;
}

/// What one writes to settle something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is to be settled.
    pub key: Bytes,
    /// How.
    pub value: Bytes,
    /// Whether it is written over what is there. Else it is written only where nothing is.
    pub replaces: bool,
}
