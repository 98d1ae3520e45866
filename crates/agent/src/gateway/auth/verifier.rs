//! Credentials that a file says, which may change.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use teleflow::receiver::auth::{Authenticator, Credential, Decision, Unverified};
use tokio::task;

/// Makes what verifies of a file's text, or says what is wrong with it without what is in it.
type Make = Box<dyn Fn(&str) -> Result<Box<dyn Authenticator>, String> + Send + Sync>;

/// Verifies by a file, which is looked at each time that something is verified, and read again if it
/// has changed. What is not right then is logged, and what was right before stays.
#[derive(Debug)]
pub(super) struct Verifier(Arc<Watched>);

struct Watched {
    path: PathBuf,
    make: Make,
    state: Mutex<State>,
}

#[derive(Clone)]
struct State {
    seen: Seen,
    current: Arc<dyn Authenticator>,
}

/// What tells one state of a file from another.
type Seen = Option<(SystemTime, u64)>;

// === impl Verifier ===

impl Verifier {
    /// Reads the file for the first time.
    pub(super) fn open(
        path: &Path,
        make: impl Fn(&str) -> Result<Box<dyn Authenticator>, String> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        // Looked at before it is read: what changes in between is read again.
        let seen = look(path);
        let current = Arc::from(load(path, &make)?);
        let state = Mutex::new(State { seen, current });
        Ok(Self(Arc::new(Watched { path: path.to_owned(), make: Box::new(make), state })))
    }
}

impl Authenticator for Verifier {
    fn verify<'a>(
        &'a self,
        credential: &'a Credential,
    ) -> Pin<Box<dyn Future<Output = Result<Decision, Unverified>> + Send + 'a>> {
        Box::pin(async move {
            let watched = Arc::clone(&self.0);
            let current = task::spawn_blocking(move || watched.current()).await;
            let current = current.map_err(|_| Unverified("the file could not be read".into()))?;
            current.verify(credential).await
        })
    }
}

// === impl Watched ===

impl Watched {
    /// What verifies now. Blocks.
    fn current(&self) -> Arc<dyn Authenticator> {
        let seen = look(&self.path);
        // What panicked here has left the state of before.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_some() && seen != state.seen {
            // Also where it is no good, so that this is said once.
            state.seen = seen;
            match load(&self.path, &self.make) {
                Ok(current) => {
                    state.current = Arc::from(current);
                    tracing::info!(path = %self.path.display(), "read again who may send");
                }
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!(%path, "who may send stays as it was: {error:#}");
                }
            }
        }
        Arc::clone(&state.current)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

fn look(path: &Path) -> Seen {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load(
    path: &Path,
    make: impl Fn(&str) -> Result<Box<dyn Authenticator>, String>,
) -> anyhow::Result<Box<dyn Authenticator>> {
    let text = super::read(path)?;
    make(&text).map_err(anyhow::Error::msg).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use teleflow::receiver::auth::{Secret, Tokens};

    use super::*;

    #[tokio::test]
    async fn a_file_that_has_changed_is_read_again_unless_it_is_no_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        fs::write(&path, "one").unwrap();
        let verifier = Verifier::open(&path, |text| match text {
            "" => Err("it is empty".to_owned()),
            token => Ok(Box::new(Tokens::new([("somebody", token)]))),
        });
        let verifier = verifier.unwrap();
        let knows = async |token: &str| {
            let credential = Credential::Token(Secret::new(token.as_bytes()));
            verifier.verify(&credential).await.unwrap() != Decision::Unknown
        };
        assert!(knows("one").await && !knows("three").await);
        // Of another length, so that it does not hang on the clock of the file system.
        fs::write(&path, "three").unwrap();
        assert!(knows("three").await && !knows("one").await);
        for gone in ["", "gone"] {
            match gone {
                "" => fs::write(&path, "").unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
            assert!(knows("three").await && !knows("one").await);
        }
        fs::write(&path, "eleven").unwrap();
        assert!(knows("eleven").await && !knows("three").await);
    }

    #[test]
    fn a_file_that_is_no_good_at_the_start_stops_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let open = || Verifier::open(&path, |_| Err("line 3 is odd".to_owned()));
        let missing = format!("{:#}", open().unwrap_err());
        assert!(missing.starts_with(&format!("cannot read {}: ", path.display())), "{missing}");
        fs::write(&path, "hunter2").unwrap();
        let odd = format!("{:#}", open().unwrap_err());
        assert_eq!(odd, format!("{}: line 3 is odd", path.display()));
    }
}
