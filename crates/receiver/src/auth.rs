//! Who may send: credentials are verified before the body is read, and the outcome is remembered.
//!
//! A verification may take its time: a password's hash is made to, and a token may have to be asked
//! for elsewhere. It runs beside the event loop, at most [`AuthConfig::max_verifying`] at a time;
//! requests with the same credentials wait for one of them, and for a while nobody asks again. A
//! flood of wrong credentials is thus refused at its own cost, while those that are known go on.
//!
//! Kept is a keyed digest of the credentials, never the credentials: a map's comparisons tell
//! nothing of a secret then.

mod credential;
mod digest;
#[cfg(feature = "htpasswd")]
mod htpasswd;
mod known;
mod lookup;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use teleflow_cache::{ConfigError, LoadError, SecondLevel};
use thiserror::Error;
use tokio::time::{self, Instant};

pub(crate) use self::credential::Peer;
pub use self::credential::{ClientCertificate, Credential, Secret};
use self::digest::Digester;
#[cfg(feature = "htpasswd")]
pub use self::htpasswd::{Htpasswd, HtpasswdError};
pub use self::known::{Passwords, Subjects, Tokens};
use self::lookup::{Key, Lookup, Verify};

/// Where a request carries its credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Scheme {
    /// `authorization: Bearer <token>`.
    Bearer,
    /// `authorization: Basic <user and password>`.
    Basic,
    /// A header of this name that holds a key.
    Header(HeaderName),
    /// The certificate that the client has shown, where [`TlsConfig::client_ca`] asks for one.
    ///
    /// [`TlsConfig::client_ca`]: crate::TlsConfig::client_ca
    Certificate,
}

/// How credentials are verified, and for how long an outcome holds.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Where they are.
    pub scheme: Scheme,
    /// How long an outcome holds. Default: 5 minutes. Who is removed may go on for so long.
    pub ttl: Duration,
    /// How long it holds that credentials are wrong. Default: 10 s. Zero asks each time.
    pub negative_ttl: Duration,
    /// How many outcomes are remembered. Default: 10 000, about 2 MB. The most used ones stay.
    pub max_remembered: usize,
    /// How many verifications run at a time. Default: 256. One more is told to come back.
    pub max_verifying: usize,
    /// How long one may take. Default: 5 s. Then the client is told to come back.
    pub timeout: Duration,
}

/// Verifies credentials.
///
/// ```
/// use std::pin::Pin;
/// use teleflow_receiver::auth::{Authenticator, Credential, Decision, Identity, Unverified};
///
/// #[derive(Debug)]
/// struct Even;
///
/// impl Authenticator for Even {
///     fn verify<'a>(
///         &'a self,
///         credential: &'a Credential,
///     ) -> Pin<Box<dyn Future<Output = Result<Decision, Unverified>> + Send + 'a>> {
///         Box::pin(async move {
///             let Credential::Token(token) = credential else { return Ok(Decision::Unknown) };
///             Ok(match token.expose().len() % 2 {
///                 0 => Decision::Known(Identity::new("someone even")),
///                 _ => Decision::Unknown,
///             })
///         })
///     }
/// }
/// ```
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Says whose credentials these are. What blocks or computes for long belongs on another thread
    /// (`spawn_blocking`).
    ///
    /// # Errors
    ///
    /// [`Unverified`] if that cannot be said at the moment: it is not remembered.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped where it stands when it takes too long or the last client that waits
    /// for it has left.
    fn verify<'a>(
        &'a self,
        credential: &'a Credential,
    ) -> Pin<Box<dyn Future<Output = Result<Decision, Unverified>> + Send + 'a>>;
}

/// What a verification says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// They are this one's, who may send.
    Known(Identity),
    /// They are somebody's who may not send: `PERMISSION_DENIED` or 403.
    Forbidden,
    /// They are nobody's: `UNAUTHENTICATED` or 401.
    Unknown,
}

/// Who has sent a request. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Identity(Arc<str>);

/// Credentials could not be verified at the moment: `UNAVAILABLE` or 503.
///
/// What is said here is for the log, throttled, and must hold no secret. The client is told nothing
/// of it.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct Unverified(pub std::borrow::Cow<'static, str>);

/// Verified credentials are required. Cheap to clone; clones share what is remembered.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    config: AuthConfig,
    digester: Digester,
    lookup: Box<dyn Lookup>,
}

/// Why a request is not let in.
#[derive(Debug)]
pub(crate) enum Denial {
    /// It shows no credentials.
    Missing,
    /// They are nobody's.
    Wrong,
    /// They are somebody's who may not send.
    Forbidden,
    /// It cannot be said. The reason is for the log.
    Unverified(String),
}

tokio::task_local! {
    pub(crate) static IDENTITY: Identity;
}

// === impl AuthConfig ===

impl AuthConfig {
    /// With all else as it is by default.
    pub fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            ttl: Duration::from_secs(300),
            negative_ttl: Duration::from_secs(10),
            max_remembered: 10_000,
            max_verifying: 256,
            timeout: Duration::from_secs(5),
        }
    }
}

// === impl Identity ===

impl Identity {
    /// Names somebody.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Who it is.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whose payload the [`Consumer`](crate::Consumer) of this task is being given. `None` where no
    /// authentication is required, and in tasks that the consumer spawns.
    pub fn current() -> Option<Self> {
        IDENTITY.try_with(Self::clone).ok()
    }
}

// === impl Auth ===

impl Auth {
    /// Requires what `authenticator` knows.
    ///
    /// # Errors
    ///
    /// A time or a number in `config` is zero that may not be.
    pub fn new(config: AuthConfig, authenticator: impl Authenticator) -> Result<Self, ConfigError> {
        let verify = Verify::new(authenticator, config.max_verifying);
        let lookup = lookup::one_level(&config, verify)?;
        Ok(Self::with(config, Digester::random(), Box::new(lookup)))
    }

    /// The same, with outcomes that several processes share. `salt` keys the digests, and has to be
    /// the same for all of them and secret to others.
    ///
    /// # Errors
    ///
    /// A time or a number in `config` is zero that may not be.
    pub fn with_second_level<S: SecondLevel + 'static>(
        config: AuthConfig,
        authenticator: impl Authenticator,
        second: S,
        salt: [u8; 32],
    ) -> Result<Self, ConfigError> {
        let verify = Verify::new(authenticator, config.max_verifying);
        let lookup = lookup::two_levels(&config, verify, second)?;
        Ok(Self::with(config, Digester::new(salt), Box::new(lookup)))
    }

    fn with(config: AuthConfig, digester: Digester, lookup: Box<dyn Lookup>) -> Self {
        Self { inner: Arc::new(Inner { config, digester, lookup }) }
    }

    /// Says who sends this, or why that is not said.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Identity, Denial> {
        let Inner { config, digester, lookup } = &*self.inner;
        let credential = Credential::of(&config.scheme, headers, peer).ok_or(Denial::Missing)?;
        let credential = Arc::new(credential);
        let key = Key::new(digester.credential(&credential), &credential);
        let now = Instant::now().into_std();
        let known = match lookup.known(now, &key) {
            Some(known) => Ok(known),
            None => time::timeout(config.timeout, lookup.find(now, key))
                .await
                .map_err(|_| Denial::Unverified("it took too long".to_owned()))?,
        };
        match known {
            Ok(Some(outcome)) => outcome.identity().ok_or(Denial::Forbidden),
            Ok(None) => Err(Denial::Wrong),
            Err(LoadError::Failed(why)) => Err(Denial::Unverified(why.to_string())),
            Err(panicked) => Err(Denial::Unverified(panicked.to_string())),
        }
    }

    /// What a client is asked for that has shown none.
    pub(crate) fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(match self.inner.config.scheme {
            Scheme::Bearer => "Bearer",
            Scheme::Basic => "Basic realm=\"otlp\", charset=\"UTF-8\"",
            Scheme::Header(_) => "ApiKey realm=\"otlp\"",
            Scheme::Certificate => "Certificate realm=\"otlp\"",
        })
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
