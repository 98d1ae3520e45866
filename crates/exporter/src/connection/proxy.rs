//! The way to the server: straight, or over a proxy.

use std::fmt;
use std::io;
use std::net::IpAddr;

#[cfg(feature = "http")]
use http::HeaderValue;
use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::ConfigError;

/// Over which proxy requests go, if any. A proxy is spoken to in plain HTTP: `https` and SOCKS are
/// refused.
///
/// Requests over HTTP/1.1 without TLS are handed to the proxy; for everything else it is asked for
/// a tunnel (`CONNECT`), of which it sees the server's name and nothing that goes through.
#[derive(Clone, Default)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say when the exporter is made; but
    /// never to this machine itself, as in Go.
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
pub(super) struct Route {
    proxies: Option<Matcher>,
    /// Also to this machine itself.
    to_loopback: bool,
}

// === impl Proxy ===

impl Proxy {
    pub(super) fn route(&self) -> Result<Route, ConfigError> {
        match self {
            Self::None => Ok(Route { proxies: None, to_loopback: false }),
            Self::Environment => Ok(Route::environment(Matcher::from_env())),
            Self::Http { url, except } => {
                let matcher = Matcher::builder().all(url).no(except).build();
                // Asks for a server that no exception can name.
                let refuse = |problem| Err(ConfigError::Proxy(problem));
                let everywhere = Matcher::builder().all(url).build();
                match everywhere.intercept(&Uri::from_static("http://server")) {
                    None => refuse("is no URL"),
                    Some(proxy) if !is_http(&proxy) => refuse("has a scheme other than http"),
                    Some(_) => Ok(Route { proxies: Some(matcher), to_loopback: true }),
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
    fn environment(proxies: Matcher) -> Self {
        Self { proxies: Some(proxies), to_loopback: false }
    }

    /// The proxy on the way to `server`.
    pub(super) fn proxy(&self, server: &Uri) -> io::Result<Option<Intercept>> {
        if !self.to_loopback && is_loopback(server) {
            return Ok(None);
        }
        match self.proxies.as_ref().and_then(|matcher| matcher.intercept(server)) {
            Some(proxy) if !is_http(&proxy) => {
                Err(io::Error::other("the environment names a proxy that is not spoken to in HTTP"))
            }
            proxy => Ok(proxy),
        }
    }

    /// What the proxy on the way to `server` wants to be told with each request that is handed to
    /// it.
    #[cfg(feature = "http")]
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

fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_proxy_is_not_for_this_machine() {
        let proxies = Matcher::builder().all("http://proxy:3128").no("internal").build();
        let route = Route::environment(proxies);
        for (server, is_proxied) in [
            ("http://collector:4318", true),
            ("https://collector", true),
            ("http://internal:4318", false),
            ("http://localhost:4318", false),
            ("http://127.0.0.2:4318", false),
            ("https://[::1]:4318", false),
        ] {
            let proxy = route.proxy(&server.parse().unwrap()).unwrap();
            assert_eq!(proxy.is_some(), is_proxied, "{server}");
        }
    }

    #[test]
    fn a_proxy_that_is_not_spoken_to_in_http_is_an_error_and_no_way_around_it() {
        let route = Route::environment(Matcher::builder().all("socks5://proxy:1080").build());
        assert!(route.proxy(&Uri::from_static("http://collector")).is_err());
    }
}
