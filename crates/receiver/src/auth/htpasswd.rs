//! Passwords in the form of Apache's htpasswd.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task;

use super::{Authenticator, Credential, Decision, Identity, Unverified};

/// The highest cost of a hash: a second or two. A file must not be able to hold up a thread for
/// hours.
const MAX_COST: u32 = 14;

/// Knows users by a file of `name:hash` lines as `htpasswd -B` writes it.
///
/// A hash costs tens of milliseconds on purpose. It is computed on tokio's blocking threads, on as
/// many at a time as there are processors but one; further ones wait in line. A name that is not
/// there costs the same, so that the time does not tell.
pub struct Htpasswd {
    users: Arc<HashMap<String, String>>,
    /// What a name that is not there is compared with.
    nobody: Arc<str>,
    places: Arc<Semaphore>,
}

/// A line that cannot be used. The hash is not shown.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("line {line} {problem}")]
pub struct HtpasswdError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

// === impl Htpasswd ===

impl Htpasswd {
    /// Reads the lines. Empty ones and those that start with `#` are skipped.
    ///
    /// # Errors
    ///
    /// [`HtpasswdError`] at a line without a colon, with a name that was there before, with a hash
    /// that is not bcrypt or costs more than 14.
    pub fn parse(text: &str) -> Result<Self, HtpasswdError> {
        let mut users = HashMap::new();
        let mut cost = bcrypt::DEFAULT_COST;
        for (number, line) in text.lines().enumerate() {
            let fail = |problem| HtpasswdError { line: number + 1, problem };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').ok_or_else(|| fail("has no colon"))?;
            let parts: bcrypt::HashParts =
                hash.parse().map_err(|_| fail("has a hash that is not bcrypt ($2y$)"))?;
            cost = parts.get_cost();
            if cost > MAX_COST {
                return Err(fail("has a hash whose cost is over 14"));
            }
            if users.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(fail("has a name that was there before"));
            }
        }
        let nobody = bcrypt::hash_with_salt("nobody", cost, [0; 16])
            .map_err(|_| HtpasswdError { line: 0, problem: "has a cost that is too low" })?;
        let places = thread::available_parallelism().map_or(1, |count| count.get() - 1).max(1);
        Ok(Self {
            users: Arc::new(users),
            nobody: nobody.to_string().into(),
            places: Arc::new(Semaphore::new(places)),
        })
    }
}

impl Authenticator for Htpasswd {
    fn verify<'a>(
        &'a self,
        credential: &'a Credential,
    ) -> Pin<Box<dyn Future<Output = Result<Decision, Unverified>> + Send + 'a>> {
        Box::pin(async move {
            let Credential::Password { user, password } = credential else {
                return Ok(Decision::Unknown);
            };
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.map_err(|closed| Unverified(closed.to_string().into()))?;
            let (hash, known) = match self.users.get(user) {
                Some(hash) => (Arc::from(hash.as_str()), true),
                None => (Arc::clone(&self.nobody), false),
            };
            let password = password.clone();
            // The place is held until the thread is done, also when nobody waits for it any more.
            let verified = task::spawn_blocking(move || {
                let verified = bcrypt::verify(password.expose(), &hash);
                drop(place);
                verified
            });
            match verified.await {
                Ok(Ok(true)) if known => Ok(Decision::Known(Identity::new(user.as_str()))),
                Ok(Ok(_)) => Ok(Decision::Unknown),
                Ok(Err(_)) | Err(_) => Err(Unverified("a password could not be hashed".into())),
            }
        })
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Htpasswd").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

    #[tokio::test]
    async fn a_password_is_right_for_its_name_alone() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let users = Htpasswd::parse(&format!("# users\n\nann:{hash}\nbob:{hash}x\n"));
        assert_eq!(users.unwrap_err().line, 4);
        let users = Htpasswd::parse(&format!("# users\n\nann:{hash}\n")).unwrap();
        for (user, password, is) in [
            ("ann", "right", true),
            ("ann", "wrong", false),
            ("bob", "right", false),
            ("", "", false),
        ] {
            let password = Secret::new(password.as_bytes());
            let credential = Credential::Password { user: user.to_owned(), password };
            let decision = users.verify(&credential).await.unwrap();
            let expected =
                if is { Decision::Known(Identity::new(user)) } else { Decision::Unknown };
            assert_eq!(decision, expected, "{user}");
        }
        // The stand-in is of no use to anyone either.
        let nobody = Credential::Password { user: "x".into(), password: Secret::new(b"nobody") };
        assert_eq!(users.verify(&nobody).await.unwrap(), Decision::Unknown);
    }

    #[test]
    fn lines_that_cannot_be_used_are_named_without_what_is_in_them() {
        let dear = bcrypt::hash("x", 4).unwrap().replacen("$04$", "$15$", 1);
        let fine = bcrypt::hash("x", 4).unwrap();
        for (text, line, says) in [
            ("ann", 1, "colon"),
            ("ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 1, "bcrypt"),
            (&format!("\nann:{dear}"), 2, "cost"),
            (&format!("ann:{fine}\nann:{fine}"), 2, "before"),
        ] {
            let error = Htpasswd::parse(text).unwrap_err();
            assert_eq!(error.line, line);
            assert!(error.to_string().contains(says), "{error}");
            assert!(!error.to_string().contains("ann"));
        }
    }
}
