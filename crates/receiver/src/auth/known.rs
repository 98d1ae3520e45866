//! Credentials that are known from the start.

use std::fmt;
use std::future::ready;
use std::pin::Pin;

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::digest::{Digest, Digester};
use super::{Authenticator, Credential, Decision, Identity, Unverified};

type Verified<'a> = Pin<Box<dyn Future<Output = Result<Decision, Unverified>> + Send + 'a>>;

/// Knows tokens or keys, and whose they are. It keeps digests of them only.
///
/// ```
/// use teleflow_receiver::auth::{Auth, AuthConfig, Scheme, Tokens};
///
/// let tokens = Tokens::new([("a service", "a token that nobody guesses")]);
/// let auth = Auth::new(AuthConfig::new(Scheme::Bearer), tokens)?;
/// # Ok::<(), teleflow_cache::ConfigError>(())
/// ```
pub struct Tokens(Digests);

/// Knows names and passwords. It keeps digests of them only, made in no time: for passwords that a
/// program has generated. Those that people choose belong into an `Htpasswd` (feature `htpasswd`).
pub struct Passwords(Digests);

/// Lets those in whose certificate has one of these names: common name, host or URI.
///
/// Without it, that is without any [`Auth`](super::Auth), everybody is let in whose certificate is
/// valid.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subjects(Vec<String>);

struct Digests {
    digester: Digester,
    known: Vec<(Digest, Identity)>,
}

// === impl Digests ===

impl Digests {
    /// All of them are compared, and each in whole, so that the time tells nothing.
    fn find(&self, digest: &Digest) -> Decision {
        let mut found = 0;
        for (position, (known, _)) in self.known.iter().enumerate() {
            let is: Choice = known[..].ct_eq(&digest[..]);
            found = u64::conditional_select(&found, &(position as u64 + 1), is);
        }
        match found.checked_sub(1) {
            Some(position) => Decision::Known(self.known[position as usize].1.clone()),
            None => Decision::Unknown,
        }
    }
}

// === impl Tokens ===

impl Tokens {
    /// Takes pairs of a name and its token. One name may have several.
    pub fn new<N: AsRef<str>, T: AsRef<[u8]>>(known: impl IntoIterator<Item = (N, T)>) -> Self {
        let digester = Digester::random();
        let digest = |token: T| digester.parts(0, &[token.as_ref()]);
        let known = known
            .into_iter()
            // An empty one would be found by nobody: it is a mistake, and not a way in.
            .filter(|(_, token)| !token.as_ref().is_empty())
            .map(|(name, token)| (digest(token), Identity::new(name.as_ref())))
            .collect();
        Self(Digests { known, digester })
    }
}

impl Authenticator for Tokens {
    fn verify<'a>(&'a self, credential: &'a Credential) -> Verified<'a> {
        let Credential::Token(token) = credential else {
            return Box::pin(ready(Ok(Decision::Unknown)));
        };
        let digest = self.0.digester.parts(0, &[token.expose()]);
        Box::pin(ready(Ok(self.0.find(&digest))))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("known", &self.0.known.len()).finish()
    }
}

// === impl Passwords ===

impl Passwords {
    /// Takes pairs of a name and its password.
    pub fn new<N: AsRef<str>, P: AsRef<[u8]>>(known: impl IntoIterator<Item = (N, P)>) -> Self {
        let digester = Digester::random();
        let known = known
            .into_iter()
            .map(|(name, password)| {
                let digest = digester.parts(1, &[name.as_ref().as_bytes(), password.as_ref()]);
                (digest, Identity::new(name.as_ref()))
            })
            .collect();
        Self(Digests { known, digester })
    }
}

impl Authenticator for Passwords {
    fn verify<'a>(&'a self, credential: &'a Credential) -> Verified<'a> {
        let Credential::Password { user, password } = credential else {
            return Box::pin(ready(Ok(Decision::Unknown)));
        };
        let digest = self.0.digester.parts(1, &[user.as_bytes(), password.expose()]);
        Box::pin(ready(Ok(self.0.find(&digest))))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("known", &self.0.known.len()).finish()
    }
}

// === impl Subjects ===

impl Subjects {
    /// Takes the names.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl Authenticator for Subjects {
    fn verify<'a>(&'a self, credential: &'a Credential) -> Verified<'a> {
        let Credential::Certificate(certificate) = credential else {
            return Box::pin(ready(Ok(Decision::Unknown)));
        };
        let mut names =
            certificate.common_name.iter().chain(&certificate.dns_names).chain(&certificate.uris);
        let allowed = names.find(|name| self.0.contains(name));
        // Whose certificate is valid is known, but not wanted.
        let decision = allowed
            .map_or(Decision::Forbidden, |name| Decision::Known(Identity::new(name.as_str())));
        Box::pin(ready(Ok(decision)))
    }
}
