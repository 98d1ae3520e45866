//! What a client shows.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap};

use super::Scheme;

/// Credentials are no longer than this; a head is not much longer either.
const MAX_BYTES: usize = 8 * 1024;

/// What a client shows of itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credential {
    /// A bearer's token, or a key.
    Token(Secret),
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A certificate, whose key the client has.
    Certificate(Arc<ClientCertificate>),
}

/// Bytes that are in no log: `Debug` does not show them.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// `None` on a unix socket.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
}

/// Whom a client's certificate is for. It is valid, and issued by whom the receiver trusts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The distinguished name, as `CN=name, O=organisation`.
    pub subject: String,
    /// The common name in it.
    pub common_name: Option<String>,
    /// Names of hosts.
    pub dns_names: Vec<String>,
    /// URIs, such as a SPIFFE id.
    pub uris: Vec<String>,
}

// === impl Credential ===

impl Credential {
    /// Finds what the scheme asks for. What is there twice, or cannot be read, is not there.
    pub(super) fn of(scheme: &Scheme, headers: &HeaderMap, peer: &Peer) -> Option<Self> {
        let authorization = |scheme: &[u8]| {
            let value = only(headers, &AUTHORIZATION)?;
            let (name, rest) = value.split_at_checked(scheme.len())?;
            let rest = rest.strip_prefix(b" ")?.trim_ascii();
            (name.eq_ignore_ascii_case(scheme) && !rest.is_empty()).then_some(rest)
        };
        match scheme {
            Scheme::Bearer => Some(Self::Token(Secret::new(authorization(b"Bearer")?))),
            Scheme::Basic => {
                let decoded = STANDARD.decode(authorization(b"Basic")?).ok()?;
                let colon = decoded.iter().position(|&byte| byte == b':')?;
                let user = str::from_utf8(&decoded[..colon]).ok()?.to_owned();
                Some(Self::Password { user, password: Secret::new(&decoded[colon + 1..]) })
            }
            Scheme::Header(name) => {
                let key = only(headers, name)?;
                (!key.is_empty()).then(|| Self::Token(Secret::new(key)))
            }
            Scheme::Certificate => peer.certificate.clone().map(Self::Certificate),
        }
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next()?, values.next());
    (second.is_none() && first.len() <= MAX_BYTES).then(|| first.as_bytes())
}

// === impl Secret ===

impl Secret {
    /// Keeps a copy of the bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes. Compare them in constant time only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scheme: &Scheme, values: &[&str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        let name = match scheme {
            Scheme::Header(name) => name.clone(),
            _ => AUTHORIZATION,
        };
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        let found = Credential::of(scheme, &headers, &Peer::default());
        let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        let found = found.map(|credential| match credential {
            Credential::Token(token) => text(&token),
            Credential::Password { user, password } => format!("{user}|{}", text(&password)),
            Credential::Certificate(certificate) => certificate.subject.clone(),
        });
        assert_eq!(found.as_deref(), expected, "{scheme:?} {values:?}");
    }

    #[test]
    fn credentials_are_found_where_the_scheme_says_and_nowhere_else() {
        let key = Scheme::Header("x-api-key".parse().unwrap());
        check(&Scheme::Bearer, &["Bearer abc"], Some("abc"));
        check(&Scheme::Bearer, &["bearer  abc "], Some("abc"));
        for wrong in ["", "Bearer", "Bearer ", "Bearerabc", "Basic abc", "abc", "B"] {
            check(&Scheme::Bearer, &[wrong], None);
        }
        check(&Scheme::Bearer, &[], None);
        check(&Scheme::Bearer, &["Bearer a", "Bearer b"], None);
        check(&Scheme::Bearer, &[&format!("Bearer {}", "a".repeat(MAX_BYTES))], None);
        check(&Scheme::Basic, &["Basic dXNlcjpwYTpzcw=="], Some("user|pa:ss"));
        check(&Scheme::Basic, &["Basic dXNlcjo="], Some("user|"));
        for wrong in ["Basic dXNlcg==", "Basic !!!", "Basic /zph", "Basic dXNlcjo"] {
            check(&Scheme::Basic, &[wrong], None);
        }
        check(&key, &["abc"], Some("abc"));
        check(&key, &[""], None);
        check(&Scheme::Certificate, &["Bearer abc"], None);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", Credential::Token(Secret::new(b"hush")));
        assert_eq!(shown, "Token(Secret)");
    }
}
