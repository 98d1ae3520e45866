//! Keyed digests of credentials, which can be kept and compared.

use sha2::{Digest as _, Sha256};

use super::Credential;

/// A digest by which credentials are known. Nobody who lacks the key can choose two that share one.
pub(crate) type Digest = [u8; 32];

/// Makes digests with a key.
#[derive(Clone)]
pub(crate) struct Digester {
    salt: [u8; 32],
}

// === impl Digester ===

impl Digester {
    pub(crate) fn new(salt: [u8; 32]) -> Self {
        Self { salt }
    }

    /// With a key that nobody knows. `RandomState` is seeded by the operating system; fastrand is
    /// not made for this.
    pub(crate) fn random() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let mut salt = [0; 32];
        for (position, bytes) in salt.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&RandomState::new().hash_one(position).to_le_bytes());
        }
        Self::new(salt)
    }

    pub(crate) fn credential(&self, credential: &Credential) -> Digest {
        match credential {
            Credential::Token(token) => self.parts(0, &[token.expose()]),
            Credential::Password { user, password } => {
                self.parts(1, &[user.as_bytes(), password.expose()])
            }
            Credential::Certificate(certificate) => {
                let names = certificate.dns_names.iter().chain(&certificate.uris);
                let names: Vec<&[u8]> = names.map(String::as_bytes).collect();
                self.parts(2, &[&[certificate.subject.as_bytes()][..], &names].concat())
            }
        }
    }

    /// Each part with its length, so that none can pass for the start of the next.
    pub(crate) fn parts(&self, kind: u8, parts: &[&[u8]]) -> Digest {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update([kind]);
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        // Length extension is of no use to anyone: the digests are never shown.
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

    #[test]
    fn a_digest_depends_on_the_key_the_kind_and_where_the_parts_end() {
        let password = |user: &str, password: &str| Credential::Password {
            user: user.to_owned(),
            password: Secret::new(password.as_bytes()),
        };
        let one = Digester::new([1; 32]);
        let digests = [
            one.credential(&password("ab", "c")),
            one.credential(&password("a", "bc")),
            one.credential(&Credential::Token(Secret::new(b"abc"))),
            Digester::new([2; 32]).credential(&password("ab", "c")),
            Digester::random().credential(&password("ab", "c")),
        ];
        for (position, digest) in digests.iter().enumerate() {
            assert!(!digests[..position].contains(digest), "{position}");
        }
        assert_eq!(digests[0], one.credential(&password("ab", "c")));
    }
}
