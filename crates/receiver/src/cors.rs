//! Which pages of other sites browsers may let send.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN,
    RETRY_AFTER, VARY,
};
use http::{Method, Response, StatusCode};

use crate::reply::Reply;

/// What any page may send that may send at all.
const ALWAYS: &[&str] = &[
    "accept",
    "accept-language",
    "content-encoding",
    "content-language",
    "content-type",
    "x-requested-with",
];

/// Cross-origin resource sharing for OTLP/HTTP.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cors {
    /// Origins, as `https://app.example.com`. One `*` in each stands for any text, as in
    /// `https://*.example.com`; `*` alone is every page there is. Default: none.
    pub allowed_origins: Vec<String>,
    /// Headers that pages may set beside those that OTLP needs. `*` is any. Default: none.
    pub allowed_headers: Vec<String>,
    /// How long a browser may remember the answer. Default: `None`, as long as it likes, which is
    /// 5 s.
    pub max_age: Option<Duration>,
}

/// What an answer has to say to the page that asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Allowed {
    origin: HeaderValue,
    /// Whether the page may send the user's credentials: not where every page may come.
    credentials: bool,
}

// === impl Cors ===

impl Cors {
    /// An origin that can match nothing.
    pub(crate) fn mistake(&self) -> Option<&str> {
        let is_wrong = |origin: &&String| origin.is_empty() || origin.matches('*').count() > 1;
        self.allowed_origins.iter().find(is_wrong).map(String::as_str)
    }

    /// `None` where there is no page or it may not send.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> Option<Allowed> {
        let origin = headers.get(ORIGIN)?;
        if self.allowed_origins.iter().any(|allowed| allowed == "*") {
            return Some(Allowed { origin: HeaderValue::from_static("*"), credentials: false });
        }
        let name = origin.to_str().ok()?;
        let is_allowed = self.allowed_origins.iter().any(|allowed| matches(allowed, name));
        is_allowed.then(|| Allowed { origin: origin.clone(), credentials: true })
    }

    /// Answers what a browser asks before it lets a page send; `None` if this is no such question.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Response<Reply>> {
        if method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let allowed = self.allow(headers);
        let answer = response.headers_mut();
        answer.insert(VARY, HeaderValue::from_static("origin, access-control-request-headers"));
        let Some(allowed) = allowed else { return Some(response) };
        allowed.apply(answer);
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        if let Some(names) = self.headers(headers) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        if let Some(age) = self.max_age {
            answer.insert(ACCESS_CONTROL_MAX_AGE, age.as_secs().into());
        }
        Some(response)
    }

    /// Which of the headers that the page wants to set it may.
    fn headers(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS)?.to_str().ok()?;
        let is_allowed = |name: &&str| {
            ALWAYS.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
                || self
                    .allowed_headers
                    .iter()
                    .any(|allowed| allowed == "*" || name.eq_ignore_ascii_case(allowed))
        };
        let names: Vec<&str> = wanted.split(',').map(str::trim).filter(is_allowed).collect();
        HeaderValue::from_str(&names.join(", ")).ok()
    }
}

// === impl Allowed ===

impl Allowed {
    /// Adds to an answer that the page may read it.
    pub(crate) fn apply(&self, answer: &mut HeaderMap) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RETRY_AFTER.into());
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        // A cache must not show one page what was said to another.
        if !answer.contains_key(VARY) {
            answer.insert(VARY, HeaderValue::from_static("origin"));
        }
    }
}

/// Scheme and host are compared without case, as browsers write them in lower case anyway.
fn matches(allowed: &str, origin: &str) -> bool {
    let starts = |text: &str, with: &str| {
        text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let ends = |text: &str, with: &str| {
        let start = text.len().checked_sub(with.len());
        let end = start.and_then(|start| text.get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(with))
    };
    match allowed.split_once('*') {
        None => allowed.eq_ignore_ascii_case(origin),
        Some((before, after)) => {
            origin.len() >= before.len() + after.len()
                && starts(origin, before)
                && ends(origin, after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_any_text_and_for_nothing_around_it() {
        for (allowed, origin, is) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "HTTPS://A.Example", true),
            ("https://a.example", "https://a.example.evil", false),
            ("https://a.example", "http://a.example", false),
            ("https://*.example", "https://a.b.example", true),
            ("https://*.example", "https://.example", true),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://a.example.evil", false),
            ("http://localhost:*", "http://localhost:3000", true),
            ("ab*ba", "aba", false),
            ("ab*ba", "abé", false),
        ] {
            assert_eq!(matches(allowed, origin), is, "{allowed} {origin}");
        }
    }

    #[test]
    fn an_origin_that_can_match_nothing_is_found() {
        let cors = |origin: &str| Cors {
            allowed_origins: vec!["*".into(), origin.into()],
            ..Cors::default()
        };
        assert_eq!(cors("https://*.a.*").mistake(), Some("https://*.a.*"));
        assert_eq!(cors("").mistake(), Some(""));
        assert_eq!(cors("https://*.a").mistake(), None);
    }
}
