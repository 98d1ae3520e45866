//! Outcomes that are remembered, in the cache's levels.

use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use teleflow_cache::{
    Cache, CacheConfig, Codec, ConfigError, FirstLevelConfig, LoadError, Loader, NoCodec,
    NoSecondLevel, SecondLevel, Undecodable,
};
use tokio::sync::Semaphore;

use super::digest::Digest;
use super::{AuthConfig, Authenticator, Credential, Decision, Identity, Unverified};

/// What an entry takes beside its name: the key's part on the heap.
const ENTRY_BYTES: usize = 128;

/// The most bytes of a name and its entry that are remembered.
const MAX_ENTRY_BYTES: usize = 1024;

/// Credentials by their digest. They themselves live as long as a request that shows them.
#[derive(Clone, Debug)]
pub(super) struct Key {
    digest: Digest,
    credential: Weak<Credential>,
}

/// What is remembered of credentials that are somebody's.
#[derive(Clone, Debug)]
pub(super) struct Outcome(Option<Identity>);

/// Outcomes as bytes, for a second level.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireCodec;

/// Runs an authenticator, so many times at once.
pub(super) struct Verify {
    authenticator: Box<dyn Authenticator>,
    places: Semaphore,
}

type Found = Result<Option<Outcome>, LoadError<Unverified>>;

/// A cache, of whatever levels.
pub(super) trait Lookup: Send + Sync {
    /// What is remembered.
    fn known(&self, now: Instant, key: &Key) -> Option<Option<Outcome>>;

    /// What is remembered elsewhere, or has to be found out.
    fn find(&self, now: Instant, key: Key) -> Pin<Box<dyn Future<Output = Found> + Send + '_>>;
}

// === impl Key ===

impl Key {
    pub(super) fn new(digest: Digest, credential: &Arc<Credential>) -> Self {
        Self { digest, credential: Arc::downgrade(credential) }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

// === impl Outcome ===

impl Outcome {
    /// `None` where it is somebody who may not send.
    pub(super) fn identity(self) -> Option<Identity> {
        self.0
    }
}

// === impl WireCodec ===

impl Codec<Key, Outcome> for WireCodec {
    fn key(&self, key: &Key, out: &mut Vec<u8>) {
        out.extend_from_slice(b"teleflow:auth:");
        out.extend_from_slice(&key.digest);
    }

    fn encode(&self, value: &Outcome, out: &mut Vec<u8>) {
        match &value.0 {
            None => out.push(0),
            Some(identity) => {
                out.push(1);
                out.extend_from_slice(identity.name().as_bytes());
            }
        }
    }

    fn decode(&self, bytes: Bytes) -> Result<Outcome, Undecodable> {
        match bytes.split_first() {
            Some((0, [])) => Ok(Outcome(None)),
            Some((1, name)) => {
                let name = str::from_utf8(name).map_err(|_| Undecodable)?;
                Ok(Outcome(Some(Identity::new(name))))
            }
            _ => Err(Undecodable),
        }
    }
}

// === impl Verify ===

impl Verify {
    pub(super) fn new(authenticator: impl Authenticator, max: usize) -> Self {
        let places = Semaphore::new(max.min(Semaphore::MAX_PERMITS));
        Self { authenticator: Box::new(authenticator), places }
    }
}

impl Loader<Key, Outcome> for Verify {
    type Error = Unverified;

    async fn load(&self, key: &Key) -> Result<Option<Outcome>, Unverified> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Unverified("too many verifications at a time".into()));
        };
        // Whoever asks holds it, as long as it asks.
        let Some(credential) = key.credential.upgrade() else {
            return Err(Unverified("the client has left".into()));
        };
        Ok(match self.authenticator.verify(&credential).await? {
            Decision::Known(identity) => Some(Outcome(Some(identity))),
            Decision::Forbidden => Some(Outcome(None)),
            Decision::Unknown => None,
        })
    }
}

pub(super) fn one_level(
    config: &AuthConfig,
    verify: Verify,
) -> Result<impl Lookup + use<>, ConfigError> {
    two_levels_with(config, verify, NoSecondLevel, NoCodec)
}

pub(super) fn two_levels<S: SecondLevel + 'static>(
    config: &AuthConfig,
    verify: Verify,
    second: S,
) -> Result<impl Lookup + use<S>, ConfigError> {
    two_levels_with(config, verify, second, WireCodec)
}

fn two_levels_with<S, C>(
    config: &AuthConfig,
    verify: Verify,
    second: S,
    codec: C,
) -> Result<Cache<Key, Outcome, Verify, S, C>, ConfigError>
where
    S: SecondLevel,
    C: Codec<Key, Outcome>,
{
    if config.max_verifying == 0 || config.timeout.is_zero() {
        return Err(ConfigError::NoConcurrency);
    }
    let first = FirstLevelConfig {
        max_entries: config.max_remembered,
        max_bytes: config.max_remembered.saturating_mul(MAX_ENTRY_BYTES),
        ttl: config.ttl,
        ..FirstLevelConfig::default()
    };
    let config = CacheConfig {
        first,
        second_ttl: config.ttl,
        negative_ttl: config.negative_ttl,
        ..CacheConfig::default()
    };
    let weigh = |_: &Key, outcome: Option<&Outcome>| {
        let name = outcome.and_then(|outcome| outcome.0.as_ref());
        ENTRY_BYTES + name.map_or(0, |identity| identity.name().len())
    };
    Cache::with_second_level(config, weigh, verify, second, codec)
}

// === impl Lookup ===

impl<S, C> Lookup for Cache<Key, Outcome, Verify, S, C>
where
    S: SecondLevel,
    C: Codec<Key, Outcome>,
{
    fn known(&self, now: Instant, key: &Key) -> Option<Option<Outcome>> {
        self.first_level().get_at(now, key)
    }

    fn find(&self, now: Instant, key: Key) -> Pin<Box<dyn Future<Output = Found> + Send + '_>> {
        Box::pin(async move { self.get_at(now, &key).await })
    }
}
