//! Where to listen and where to send: hosts, ports and URLs, checked and not resolved.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// A host and a port. The host is a name, or an address without brackets.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where a connection is made to, or comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    Tcp(Endpoint),
    /// The file of a unix socket.
    Unix(PathBuf),
}

/// The longest path that the operating systems have room for in a socket's address, less the zero at
/// its end.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// What an endpoint's text says about encryption.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scheme {
    /// `http://`
    Http,
    /// `https://`
    Https,
    /// `host:port`
    None,
    /// `unix:///path`, which goes through no network
    Unix,
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads where to listen. No host (`:4317`) means every interface, as it does in Go; port 0
    /// lets the system choose.
    pub(super) fn parse_listen(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("write host:port, without a scheme".to_owned());
        }
        let (host, port) = split_port(text)?;
        let host = if host.is_empty() { "0.0.0.0".to_owned() } else { parse_host(host)? };
        Ok(Self { host, port })
    }

    /// Reads where to connect: `host:port`, with or without `http://` or `https://`.
    pub(super) fn parse_target(text: &str) -> Result<(Scheme, Self), String> {
        let (scheme, rest) = split_scheme(text)?;
        let rest =
            if scheme == Scheme::None { rest } else { rest.strip_suffix('/').unwrap_or(rest) };
        let (host, port) = split_port(rest)?;
        if port == 0 {
            return Err("port 0 cannot be connected to".to_owned());
        }
        Ok((scheme, Self { host: parse_host(host)?, port }))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

// === impl Address ===

impl Address {
    /// Reads where to connect: as [`Endpoint::parse_target`], or `unix:///path`.
    pub(super) fn parse_target(text: &str) -> Result<(Scheme, Self), String> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok((Scheme::Unix, Self::Unix(parse_socket(path)?))),
            None => {
                let (scheme, endpoint) = Endpoint::parse_target(text)?;
                Ok((scheme, Self::Tcp(endpoint)))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(endpoint) => endpoint.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Checks the path of a socket, which may have the slashes of a URL before it.
pub(super) fn parse_socket(path: &str) -> Result<PathBuf, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with('@') || path.ends_with('/') || path.contains('\0') {
        return Err("write the path of its file: `/run/otlp.sock`".to_owned());
    }
    if path.len() > MAX_SOCKET_PATH {
        return Err(format!("a socket's path has at most {MAX_SOCKET_PATH} bytes"));
    }
    Ok(path.into())
}

/// Checks a URL and gives its scheme. The URL is used as it is written.
pub(super) fn check_url(text: &str) -> Result<Scheme, String> {
    let (scheme, rest) = split_scheme(text)?;
    if scheme == Scheme::None {
        return Err("write the scheme: `http://`".to_owned());
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let has_port = authority.rfind(':').is_some_and(|colon| !authority[colon..].contains(']'));
    let host = if has_port { split_port(authority)?.0 } else { authority };
    parse_host(host)?;
    if path.starts_with('?') || path.contains('#') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("write the path after the host, special characters as %XX".to_owned());
    }
    Ok(scheme)
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), String> {
    if text.contains('@') {
        return Err("write credentials as `headers`".to_owned());
    }
    match text.split_once("://") {
        Some(("http", rest)) => Ok((Scheme::Http, rest)),
        Some(("https", rest)) => Ok((Scheme::Https, rest)),
        Some(_) => Err("known schemes: http, https".to_owned()),
        None if text.starts_with("unix:") || text.starts_with("dns:") => {
            Err("known schemes: http, https".to_owned())
        }
        None => Ok((Scheme::None, text)),
    }
}

fn split_port(text: &str) -> Result<(&str, u16), String> {
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| "write the port: `localhost:4317`".to_owned())?;
    if host.contains(':') && !host.starts_with('[') {
        return Err("write an IPv6 address in brackets: `[::1]:4317`".to_owned());
    }
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if is_number => Ok((host, port)),
        _ => Err("a port is a number up to 65535".to_owned()),
    }
}

/// Checks a host, and takes the brackets off an address.
pub(super) fn parse_host(host: &str) -> Result<String, String> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(address.to_owned()),
            Err(_) => Err("write an IPv6 address in the brackets: `[::1]:4317`".to_owned()),
        };
    }
    let is_word = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() {
        return Err("write the host: `localhost:4317`".to_owned());
    }
    if name.len() > 253 || !name.split('.').all(is_word) {
        return Err("write a host name or an address: `localhost:4317`".to_owned());
    }
    let looks_numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if looks_numeric && name.parse::<Ipv4Addr>().is_err() {
        return Err("write an IPv4 address with four numbers: `127.0.0.1:4317`".to_owned());
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_a_host_and_a_port() {
        for (text, shown) in [
            ("localhost:4317", "localhost:4317"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:4317", "0.0.0.0:4317"),
            (":4317", "0.0.0.0:4317"),
            ("[::1]:4317", "[::1]:4317"),
            ("[::]:65535", "[::]:65535"),
            ("my_host-1.example.:80", "my_host-1.example.:80"),
        ] {
            let parsed = Endpoint::parse_listen(text).map(|endpoint| endpoint.to_string());
            assert_eq!(parsed, Ok(shown.to_owned()), "{text}");
        }
        assert_eq!(Endpoint::parse_listen("[::1]:4317").unwrap().host, "::1");
    }

    #[track_caller]
    fn check_refused<T: fmt::Debug>(parsed: Result<T, String>, hint: &str) {
        assert_eq!(parsed.unwrap_err(), hint);
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused() {
        for (text, hint) in [
            ("localhost", "write the port: `localhost:4317`"),
            ("", "write the port: `localhost:4317`"),
            ("localhost:", "a port is a number up to 65535"),
            ("localhost:+1", "a port is a number up to 65535"),
            ("localhost:65536", "a port is a number up to 65535"),
            ("localhost:http", "a port is a number up to 65535"),
            ("::1:4317", "write an IPv6 address in brackets: `[::1]:4317`"),
            ("[::g]:4317", "write an IPv6 address in the brackets: `[::1]:4317`"),
            ("[fe80::1%eth0]:1", "write an IPv6 address in the brackets: `[::1]:4317`"),
            ("http://localhost:4317", "write host:port, without a scheme"),
            ("local host:4317", "write a host name or an address: `localhost:4317`"),
            ("a..b:1", "write a host name or an address: `localhost:4317`"),
            ("unix:/run/x:1", "write an IPv6 address in brackets: `[::1]:4317`"),
            ("127.0.0.256:1", "write an IPv4 address with four numbers: `127.0.0.1:4317`"),
            ("1.2.3:1", "write an IPv4 address with four numbers: `127.0.0.1:4317`"),
        ] {
            check_refused(Endpoint::parse_listen(text), hint);
        }
    }

    #[test]
    fn a_target_may_name_its_scheme() {
        for (text, scheme, shown) in [
            ("collector:4317", Scheme::None, "collector:4317"),
            ("http://collector:4317", Scheme::Http, "collector:4317"),
            ("http://[::1]:4317/", Scheme::Http, "[::1]:4317"),
            ("https://collector:443", Scheme::Https, "collector:443"),
        ] {
            let (parsed, endpoint) = Endpoint::parse_target(text).unwrap();
            assert_eq!((parsed, endpoint.to_string().as_str()), (scheme, shown));
        }
        for (text, hint) in [
            ("collector", "write the port: `localhost:4317`"),
            (":4317", "write the host: `localhost:4317`"),
            ("collector:0", "port 0 cannot be connected to"),
            ("ftp://collector:1", "known schemes: http, https"),
            ("dns:///collector:1", "known schemes: http, https"),
            ("unix:/run/x.sock", "known schemes: http, https"),
            ("http://me:pass@collector:1", "write credentials as `headers`"),
            ("http://collector:4317/v1", "a port is a number up to 65535"),
        ] {
            check_refused(Endpoint::parse_target(text), hint);
        }
    }

    #[test]
    fn a_target_may_be_a_socket() {
        for (text, path) in [
            ("unix:///run/x.sock", "/run/x.sock"),
            ("unix:/run/x.sock", "/run/x.sock"),
            ("unix:x.sock", "x.sock"),
        ] {
            let target = Address::parse_target(text);
            assert_eq!(target, Ok((Scheme::Unix, Address::Unix(path.into()))), "{text}");
        }
        let tcp = Address::parse_target("c:1").map(|(scheme, to)| (scheme, to.to_string()));
        assert_eq!(tcp, Ok((Scheme::None, "c:1".to_owned())));
        for text in ["unix:", "unix://", "unix:@abstract", "unix:/run/", "unix:a\0b"] {
            check_refused(
                Address::parse_target(text),
                "write the path of its file: `/run/otlp.sock`",
            );
        }
        let long = format!("unix:/{}", "x".repeat(MAX_SOCKET_PATH));
        assert!(
            Address::parse_target(&long).unwrap_err().starts_with("a socket's path has at most")
        );
        assert!(Address::parse_target(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn a_url_has_a_scheme_a_host_and_maybe_more() {
        for text in [
            "http://collector",
            "http://collector:4318",
            "http://collector:4318/",
            "http://[::1]/otlp",
            "http://[::1]:4318/otlp/v1/traces?tenant=a",
        ] {
            assert_eq!(check_url(text), Ok(Scheme::Http), "{text}");
        }
        assert_eq!(check_url("https://collector"), Ok(Scheme::Https));
        for (text, hint) in [
            ("collector:4318", "write the scheme: `http://`"),
            ("", "write the scheme: `http://`"),
            ("http://", "write the host: `localhost:4317`"),
            ("http:///x", "write the host: `localhost:4317`"),
            ("http://collector:x/", "a port is a number up to 65535"),
            ("http://me@collector/", "write credentials as `headers`"),
            ("http://collector/a b", "write the path after the host, special characters as %XX"),
            ("http://collector/a#b", "write the path after the host, special characters as %XX"),
            ("http://collector?a", "write the path after the host, special characters as %XX"),
            ("http://collector/\u{e9}", "write the path after the host, special characters as %XX"),
        ] {
            check_refused(check_url(text), hint);
        }
    }
}
