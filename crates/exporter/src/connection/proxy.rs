//! The way to the server: straight, or over a proxy.

use std::fmt;
use std::io;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::ConfigError;

/// Over which proxy requests go, if any. A proxy is spoken to in plain HTTP: `https` and SOCKS are
/// refused.
///
/// Requests over HTTP/1.1 without TLS are handed to the proxy; for everything else it is asked for
/// a tunnel (`CONNECT`), of which it sees the server's name and nothing that goes through.
#[derive(Clone, Default)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say when the exporter is made.
    #[default]
    Environment,
    /// Straight to the server, whatever the environment says.
    None,
    /// Over the proxy at `url`.
    Http {
        /// `http://host:port`, with `user:password@` before the host where it asks for that. A
        /// secret: nothing prints it.
        url: String,
        /// Where it is not used: hosts, domains and networks, as in `NO_PROXY`.
        except: String,
    },
}

/// Decides for each server.
pub(super) struct Route(Option<Matcher>);

// === impl Proxy ===

impl Proxy {
    pub(super) fn route(&self) -> Result<Route, ConfigError> {
        match self {
            Self::None => Ok(Route(None)),
            Self::Environment => Ok(Route(Some(Matcher::from_env()))),
            Self::Http { url, except } => {
                let matcher = Matcher::builder().all(url).no(except).build();
                // Asks for a server that no exception can name.
                let refuse = |problem| Err(ConfigError::Proxy(problem));
                let everywhere = Matcher::builder().all(url).build();
                match everywhere.intercept(&Uri::from_static("http://server")) {
                    None => refuse("is no URL"),
                    Some(proxy) if !is_http(&proxy) => refuse("has a scheme other than http"),
                    Some(_) => Ok(Route(Some(matcher))),
                }
            }
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::None => "None",
            Self::Http { .. } => "Http { .. }",
        })
    }
}

// === impl Route ===

impl Route {
    /// The proxy on the way to `server`.
    pub(super) fn proxy(&self, server: &Uri) -> io::Result<Option<Intercept>> {
        match self.0.as_ref().and_then(|matcher| matcher.intercept(server)) {
            Some(proxy) if !is_http(&proxy) => {
                Err(io::Error::other("the environment names a proxy that is not spoken to in HTTP"))
            }
            proxy => Ok(proxy),
        }
    }

    /// What the proxy on the way to `server` wants to be told with each request that is handed to
    /// it.
    pub(super) fn authorization(&self, server: &Uri) -> Option<HeaderValue> {
        let proxy = self.proxy(server).ok().flatten()?;
        let mut value = proxy.basic_auth()?.clone();
        value.set_sensitive(true);
        Some(value)
    }
}

fn is_http(proxy: &Intercept) -> bool {
    proxy.uri().scheme_str() == Some("http")
}
