//! Makes what verifies who sends, and the header that we send with.

mod users;
mod verifier;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;
use teleflow::receiver::auth::{Auth, AuthConfig, Authenticator, Scheme, Subjects, Tokens};

use self::users::Users;
use self::verifier::Verifier;
use crate::config::{
    self, BasicAuth, CertificateAuth, Config, Extension, Id, Reference, Secret, Text, TokenAuth,
};

/// How long an outcome holds where a file says who may send: who is taken out of it goes on for so
/// long.
const TTL_OF_FILES: Duration = Duration::from_secs(60);

/// More than any list of tokens or users has.
const MAX_FILE: u64 = 1024 * 1024;

/// What the extensions of a config verify, made once for all receivers that ask for it.
#[derive(Debug)]
pub(super) struct Authenticators<'a> {
    config: &'a Config,
    made: RefCell<BTreeMap<&'a Id, Auth>>,
}

// === impl Authenticators ===

impl<'a> Authenticators<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        Self { config, made: RefCell::default() }
    }

    /// What verifies who sends. Reads the files that say it.
    pub(super) fn server(&self, reference: &Reference) -> anyhow::Result<Auth> {
        let (id, extension) = self.find(reference)?;
        if let Some(auth) = self.made.borrow().get(id) {
            return Ok(auth.clone());
        }
        let auth = server(id, extension).with_context(|| format!("extensions.{id}"))?;
        self.made.borrow_mut().insert(id, auth.clone());
        Ok(auth)
    }

    /// The header to send with: its name, and its value, which is secret. Reads the files that hold
    /// it.
    pub(super) fn client(&self, reference: &Reference) -> anyhow::Result<(String, String)> {
        let (id, extension) = self.find(reference)?;
        client(extension).with_context(|| format!("extensions.{id}"))
    }

    fn find(&self, reference: &Reference) -> anyhow::Result<(&'a Id, &'a Extension)> {
        let found = self.config.extensions.get_key_value(&reference.id);
        found.ok_or_else(|| anyhow!("extensions.{} is not defined", reference.id))
    }
}

fn server(id: &Id, extension: &Extension) -> anyhow::Result<Auth> {
    match extension {
        Extension::Tokens(auth) => {
            let is_bearer =
                auth.header == "authorization" && auth.scheme.eq_ignore_ascii_case("bearer");
            let scheme = match is_bearer {
                true => Scheme::Bearer,
                false => Scheme::Header(HeaderName::from_bytes(auth.header.as_bytes())?),
            };
            // Where the header is compared as a whole, so is the word before the token.
            let before = if is_bearer || auth.scheme.is_empty() {
                String::new()
            } else {
                format!("{} ", auth.scheme)
            };
            let name = id.to_string();
            match &auth.tokens {
                config::Tokens::Written(tokens) => {
                    let tokens = tokens.iter().map(Secret::expose);
                    let tokens = tokens.map(|token| (&name, format!("{before}{token}")));
                    Ok(Auth::new(AuthConfig::new(scheme), Tokens::new(tokens))?)
                }
                config::Tokens::File(path) => {
                    let make = move |text: &str| {
                        let tokens = tokens_of(text)?.into_iter();
                        let tokens = tokens.map(|token| (&name, format!("{before}{token}")));
                        Ok(Box::new(Tokens::new(tokens)) as Box<dyn Authenticator>)
                    };
                    let verifier = Verifier::open(path, make).context("filename")?;
                    watched(scheme, verifier)
                }
            }
        }
        Extension::Basic(BasicAuth::Server { file, inline }) => {
            let inline = inline.as_ref().map_or("", Secret::expose).to_owned();
            let Some(path) = file else {
                let users = Users::parse(&inline).map_err(anyhow::Error::msg);
                let users = users.context("htpasswd.inline")?;
                return Ok(Auth::new(AuthConfig::new(Scheme::Basic), users)?);
            };
            let make = move |text: &str| {
                let users = Users::parse(&format!("{}\n{inline}", text.trim_end()))?;
                Ok(Box::new(users) as Box<dyn Authenticator>)
            };
            watched(Scheme::Basic, Verifier::open(path, make).context("htpasswd.file")?)
        }
        Extension::Certificates(CertificateAuth { names }) => {
            Ok(Auth::new(AuthConfig::new(Scheme::Certificate), Subjects::new(names))?)
        }
        Extension::Basic(BasicAuth::Client { .. })
        | Extension::Admin(_)
        | Extension::Storage(_)
        | Extension::TailStorage(_) => bail!("it does not verify who sends"),
    }
}

fn watched(scheme: Scheme, verifier: Verifier) -> anyhow::Result<Auth> {
    Ok(Auth::new(AuthConfig { ttl: TTL_OF_FILES, ..AuthConfig::new(scheme) }, verifier)?)
}

fn client(extension: &Extension) -> anyhow::Result<(String, String)> {
    match extension {
        Extension::Tokens(TokenAuth { header, scheme, tokens }) => {
            let token = match tokens {
                config::Tokens::Written(tokens) => {
                    tokens.first().map(|token| token.expose().into())
                }
                config::Tokens::File(path) => {
                    let text = read(path).context("filename")?;
                    tokens_of(&text)
                        .map_err(anyhow::Error::msg)
                        .context("filename")?
                        .into_iter()
                        .next()
                }
            };
            let token = token.context("it has no token")?;
            let space = if scheme.is_empty() { "" } else { " " };
            Ok((header.clone(), format!("{scheme}{space}{token}")))
        }
        Extension::Basic(BasicAuth::Client { user, password }) => {
            let user = text(user).context("client_auth.username_file")?;
            if user.contains(':') {
                bail!("client_auth.username_file: a name has no `:`");
            }
            let password = text(password).context("client_auth.password_file")?;
            let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            Ok(("authorization".to_owned(), value))
        }
        Extension::Basic(BasicAuth::Server { .. })
        | Extension::Admin(_)
        | Extension::Certificates(_)
        | Extension::Storage(_)
        | Extension::TailStorage(_) => bail!("it has no credentials to send with"),
    }
}

/// The tokens of a file, one a line. What is wrong is said without them.
fn tokens_of(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let token = line.trim();
        if token.is_empty() {
            continue;
        }
        if !config::is_token(token) {
            return Err(format!("line {} is not one word of ASCII text", number + 1));
        }
        tokens.push(token.to_owned());
    }
    if tokens.is_empty() {
        return Err("there is no token in it".to_owned());
    }
    Ok(tokens)
}

fn text(text: &Text) -> anyhow::Result<String> {
    match text {
        Text::Written(text) => Ok(text.expose().to_owned()),
        Text::File(path) => Ok(read(path)?.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > MAX_FILE {
        bail!("{} is larger than {MAX_FILE} bytes", path.display());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_one_a_line_and_a_mistake_is_told_without_them() {
        let tokens = ["one".to_owned(), "two".to_owned()];
        assert_eq!(tokens_of("one\n\n  two \r\n"), Ok(tokens.to_vec()));
        for (text, says) in [
            ("", "there is no token in it"),
            (" \n\n", "there is no token in it"),
            ("one\nhunter 2", "line 2 is not one word of ASCII text"),
            ("h\u{fc}nter2", "line 1 is not one word of ASCII text"),
        ] {
            assert_eq!(tokens_of(text).unwrap_err(), says);
        }
    }

    #[test]
    fn what_is_sent_is_what_a_server_asks_for() {
        let secret = |text: &str| {
            let tokens = format!("bearertokenauth: {{ token: {text} }}");
            let config = Config::parse(
                "f",
                &format!(
                    "receivers: {{ otlp: {{ protocols: {{ grpc: }} }} }}\nexporters: {{ debug: }}\n\
                     extensions: {{ {tokens}, basicauth: {{ client_auth: {{ username: ann, password: {text} }} }}, \
                     apikeyauth: {{ keys: [{text}, other] }}, \
                     bearertokenauth/odd: {{ token: {text}, scheme: Key, header: X-Token }} }}\n\
                     service: {{ pipelines: {{ logs: {{ receivers: [otlp], exporters: [debug] }} }} }}\n"
                ),
                &|_| None,
            );
            let extensions = config.unwrap().0.extensions;
            extensions.values().map(|extension| client(extension).unwrap()).collect::<Vec<_>>()
        };
        let expected = [
            ("x-api-key", "hunter2"),
            ("authorization", "Basic YW5uOmh1bnRlcjI="),
            ("authorization", "Bearer hunter2"),
            ("x-token", "Key hunter2"),
        ];
        assert_eq!(secret("hunter2"), expected.map(|(name, value)| (name.into(), value.into())));
    }
}
