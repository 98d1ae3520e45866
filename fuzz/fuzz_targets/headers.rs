//! Any values of the headers that a receiver looks at: who does not show the right credentials, and
//! says what it sends, is refused, and nothing of what it shows comes back.

#![no_main]

use std::cell::RefCell;

use http::{HeaderName, HeaderValue, Method, Request};
use libfuzzer_sys::fuzz_target;
use teleflow_fuzz::{Client, Pieces, Served};
use teleflow_otlp::Signal;
use teleflow_receiver::Cors;
use teleflow_receiver::auth::{Auth, AuthConfig, Passwords, Scheme, Tokens};

thread_local! {
    static SERVED: RefCell<(Served, Client)> = RefCell::new({
        let served = Served::start(|config| {
            let tokens = Tokens::new([("somebody", "token")]);
            let passwords = Passwords::new([("user", "word")]);
            let bearer = Auth::new(AuthConfig::new(Scheme::Bearer), tokens);
            let basic = Auth::new(AuthConfig::new(Scheme::Basic), passwords);
            config.http_access.auth = Some(bearer.expect("it can work"));
            config.grpc_access.auth = Some(basic.expect("it can work"));
            config.cors = Some(Cors {
                allowed_origins: vec!["https://*.example.com".to_owned()],
                allowed_headers: vec!["x-own".to_owned()],
                max_age: None,
            });
        });
        let client = served.client();
        (served, client)
    });
}

const NAMES: [&str; 16] = [
    "content-type",
    "content-encoding",
    "authorization",
    "grpc-encoding",
    "grpc-timeout",
    "te",
    "origin",
    "access-control-request-method",
    "access-control-request-headers",
    "traceparent",
    "tracestate",
    "baggage",
    "user-agent",
    "accept-encoding",
    "x-forwarded-for",
    "x-own",
];

/// `ExportTraceServiceRequest { ResourceSpans { ScopeSpans { Span { name: "x" } } } }`
const PROTOBUF: &[u8] = b"\x0a\x07\x12\x05\x12\x03\x2a\x01x";
const JSON: &[u8] = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x"}]}]}]}"#;

// The first byte says how it is asked. Then a line for each header: a byte for its name, its value.
fuzz_target!(|input: &[u8]| {
    let Some((&how, lines)) = input.split_first() else { return };
    let (over_http2, is_grpc, is_json) = (how & 1 != 0, how & 3 == 3, how & 4 != 0);
    let path = if is_grpc { Signal::Traces.grpc_path() } else { Signal::Traces.http_path() };
    let method = if how & 8 != 0 { Method::OPTIONS } else { Method::POST };
    let body = match (is_grpc, is_json) {
        (true, _) => [&[0, 0, 0, 0, PROTOBUF.len() as u8], PROTOBUF].concat(),
        (_, true) => JSON.to_vec(),
        _ => PROTOBUF.to_vec(),
    };
    let mut request = Request::builder().method(&method).uri(format!("http://otlp{path}"));
    for line in lines.split(|&byte| byte == b'\n').take(20) {
        let Some((&name, value)) = line.split_first() else { continue };
        let name = HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]);
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        // HTTP/2 allows this one nothing else, and a client that knows it sends no other.
        if name == "te" && value != "trailers" {
            continue;
        }
        request = request.header(name, value);
    }
    let request = request.body(Pieces::cut(&body, &[])).expect("it is a request");
    let is_known = {
        let shown: Vec<_> = request.headers().get_all("authorization").iter().collect();
        matches!(&shown[..], [one] if knows(one.as_bytes(), is_grpc))
    };
    SERVED.with_borrow_mut(|(served, client)| {
        let answer = served.runtime.block_on(client.ask(over_http2, request));
        let taken = served.taken();
        served.check_idle();
        // A head that is too long is answered by no more than the end of the connection.
        let Some(answer) = answer else {
            assert!(taken.is_empty());
            return;
        };
        let is_success = match answer.headers.get("grpc-status") {
            Some(status) => status == "0",
            None => answer.status == 200,
        };
        assert_eq!(taken.len(), usize::from(is_success), "{answer:?}");
        assert!(taken.is_empty() || (is_known && method == Method::POST), "{answer:?}");
        let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
        assert!(!text.contains("token") && !text.contains("dXNlcjp3b3Jk"), "{text}");
    });
});

fn knows(value: &[u8], is_grpc: bool) -> bool {
    let (scheme, right) = if is_grpc {
        (&b"basic "[..], &b"dXNlcjp3b3Jk"[..])
    } else {
        (&b"bearer "[..], &b"token"[..])
    };
    value
        .split_at_checked(scheme.len())
        .is_some_and(|(name, rest)| name.eq_ignore_ascii_case(scheme) && rest.trim_ascii() == right)
}
