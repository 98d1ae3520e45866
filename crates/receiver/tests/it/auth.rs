//! Credentials: who is let in, who is not, and what that costs the others.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use teleflow_cache::{SecondLevel, SecondLevelError, Stored};
use teleflow_otlp::Signal;
use teleflow_receiver::auth::{
    Auth, AuthConfig, Authenticator, Credential, Decision, Identity, Passwords, Scheme, Tokens,
    Unverified,
};
use teleflow_receiver::{Access, Config, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{Client, JSON, PROTOBUF, Server, config, frame, padding, post, raw_call};

/// Answers by the token, counts the questions, and makes some of them wait.
#[derive(Debug)]
pub(crate) struct Fake {
    asked: AtomicUsize,
    gate: Semaphore,
}

#[derive(Debug)]
struct Shared(Arc<Fake>);

impl Authenticator for Shared {
    fn verify<'a>(
        &'a self,
        credential: &'a Credential,
    ) -> Pin<Box<dyn Future<Output = Result<Decision, Unverified>> + Send + 'a>> {
        Box::pin(async move {
            self.0.asked.fetch_add(1, SeqCst);
            let Credential::Token(token) = credential else { return Ok(Decision::Unknown) };
            match token.expose() {
                b"good" => Ok(Decision::Known(Identity::new("ann"))),
                b"barred" => Ok(Decision::Forbidden),
                b"broken" => Err(Unverified("the directory is away".into())),
                b"panics" => panic!("told to"),
                b"slow" => {
                    self.0.gate.acquire().await.expect("never closed").forget();
                    Ok(Decision::Known(Identity::new("slow")))
                }
                _ => Ok(Decision::Unknown),
            }
        })
    }
}

pub(crate) fn fake(config: AuthConfig) -> (Arc<Fake>, Auth) {
    let fake = Arc::new(Fake { asked: AtomicUsize::new(0), gate: Semaphore::new(0) });
    (Arc::clone(&fake), Auth::new(config, Shared(fake)).unwrap())
}

pub(crate) fn guarded(auth: Auth) -> Config {
    let access = Access { tls: None, auth: Some(auth) };
    Config { grpc_access: access.clone(), http_access: access, ..config() }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn each_answer_is_that_of_the_protocol_and_the_sender_reaches_the_consumer() {
    let (_, auth) = fake(AuthConfig::new(Scheme::Bearer));
    let server = Server::start(guarded(auth)).await;
    let mut grpc = Client::http2(server.grpc).await;
    let mut http = Client::http1(server.http).await;
    let path = Signal::Traces.grpc_path();
    let cases = [
        (Some("good"), 200, 0),
        (None, 401, 16),
        (Some("wrong"), 401, 16),
        (Some("barred"), 403, 7),
        (Some("broken"), 503, 14),
    ];
    for (token, status, code) in cases {
        let value = token.map(bearer);
        let header = value.as_ref().map(|value| ("authorization", value.as_str()));
        for (format, body) in [(PROTOBUF, &padding(9)[..]), (JSON, b"{\"resourceSpans\":[{}]}")] {
            let headers: Vec<_> = header.into_iter().chain([format]).collect();
            let answer = http.send(post("/v1/traces", &headers, body)).await;
            assert_eq!(answer.status.as_u16(), status, "{token:?}");
            let challenge = if status == 401 { "Bearer" } else { "" };
            assert_eq!(answer.header("www-authenticate"), challenge);
            assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
            if status != 200 {
                let told = answer.rpc_status(format == JSON);
                assert_eq!(told.code, code);
                assert!(!told.message.contains("directory"), "{told:?}");
                let shown = token.is_some_and(|token| told.message.contains(&bearer(token)));
                assert!(!shown, "{told:?}");
            }
        }
        let headers: Vec<_> = header.into_iter().collect();
        let answer = grpc.send(raw_call(path, &headers, &frame(0, &padding(9)))).await;
        assert_eq!(answer.grpc_status(), code, "{token:?}");
        let retry = answer.headers.contains_key("grpc-status-details-bin");
        assert_eq!(retry, code == 14);
    }
    let senders = server.fake.senders.lock().unwrap().clone();
    assert_eq!(senders, vec![Some("ann".to_owned()); 3]);
    let stats = server.stats.snapshot();
    let http = stats.of(Transport::Http, Signal::Traces);
    assert_eq!((http.accepted, http.denied, http.refused), (2, 6, 2));
    let grpc = stats.of(Transport::Grpc, Signal::Traces);
    assert_eq!((grpc.accepted, grpc.denied, grpc.refused), (1, 3, 1));
}

#[tokio::test]
async fn it_is_decided_before_the_body_is_read() {
    let (_, auth) = fake(AuthConfig::new(Scheme::Bearer));
    let server = Server::start(guarded(auth)).await;
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    // A million bytes are announced, and none is sent.
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                authorization: Bearer wrong\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert_eq!(server.stats.snapshot().of(Transport::Http, Signal::Traces).bytes, 0);
}

#[tokio::test]
async fn a_call_is_decided_before_its_message_is_read() {
    use teleflow_testkit::raw::{END_HEADERS, HEADERS, Raw, call_head, frame, literal};

    let (_, auth) = fake(AuthConfig::new(Scheme::Bearer));
    let server = Server::start(guarded(auth)).await;
    let mut client = Raw::connect(server.grpc).await;
    let mut head = call_head(Signal::Traces.grpc_path());
    literal(&mut head, "authorization", "Bearer wrong");
    // The message is announced by the stream that stays open, and never comes.
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await.unwrap();
    let answered = async {
        while let Some(frame) = client.next().await {
            if frame.kind == HEADERS && frame.stream == 1 {
                return true;
            }
        }
        false
    };
    assert!(answered.await, "there is an answer");
    let requests = server.stats.snapshot().of(Transport::Grpc, Signal::Traces);
    assert_eq!((requests.denied, requests.bytes), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_holds_for_its_time_and_a_failure_for_none() {
    let config = AuthConfig { ttl: Duration::from_secs(60), ..AuthConfig::new(Scheme::Bearer) };
    let (fake, auth) = fake(config);
    let server = Server::start(guarded(auth)).await;
    let mut http = Client::http1(server.http).await;
    let mut ask = async |token: &str| {
        let value = bearer(token);
        let headers = [PROTOBUF, ("authorization", value.as_str())];
        http.send(post("/v1/traces", &headers, &padding(9))).await.status.as_u16()
    };
    for (token, status, asked) in
        [("good", 200, 1), ("good", 200, 1), ("wrong", 401, 2), ("wrong", 401, 2)]
    {
        assert_eq!(ask(token).await, status);
        assert_eq!(fake.asked.load(SeqCst), asked, "{token}");
    }
    for asked in [3, 4] {
        assert_eq!(ask("broken").await, 503);
        assert_eq!(fake.asked.load(SeqCst), asked);
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    ask("wrong").await;
    assert_eq!(fake.asked.load(SeqCst), 5);
    ask("good").await;
    assert_eq!(fake.asked.load(SeqCst), 5);
    tokio::time::advance(Duration::from_secs(50)).await;
    ask("good").await;
    assert_eq!(fake.asked.load(SeqCst), 6);
}

#[tokio::test]
async fn a_hundred_clients_with_one_token_ask_once() {
    let (fake, auth) = fake(AuthConfig::new(Scheme::Bearer));
    let server = Server::start(guarded(auth)).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut grpc = Client::http2(server.grpc).await;
        let headers = [("authorization", "Bearer slow")];
        let call = raw_call(Signal::Traces.grpc_path(), &headers, &frame(0, &padding(9)));
        waiting.spawn(async move { grpc.send(call).await.grpc_status() });
    }
    server.until(|_| fake.asked.load(SeqCst) == 1).await;
    // Who has another token is not held up.
    let mut http = Client::http1(server.http).await;
    let headers = [PROTOBUF, ("authorization", "Bearer good")];
    let answer = http.send(post("/v1/traces", &headers, &padding(9))).await;
    assert_eq!(answer.status, StatusCode::OK);
    fake.gate.add_permits(1);
    assert!(waiting.join_all().await.iter().all(|&code| code == 0));
    assert_eq!(fake.asked.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_verification_that_is_slow_panics_or_has_too_many_beside_it_is_to_be_tried_again() {
    let config = AuthConfig { max_verifying: 1, ..AuthConfig::new(Scheme::Bearer) };
    let (fake, auth) = fake(config);
    let server = Server::start(guarded(auth)).await;
    let headers = [("authorization", "Bearer slow")];
    let path = Signal::Traces.grpc_path();
    let mut first = Client::http2(server.grpc).await;
    let call = raw_call(path, &headers, &frame(0, &padding(9)));
    let first = tokio::spawn(async move { first.send(call).await.grpc_status() });
    server.until(|_| fake.asked.load(SeqCst) == 1).await;
    let mut http = Client::http1(server.http).await;
    let other = [PROTOBUF, ("authorization", "Bearer good")];
    let answer = http.send(post("/v1/traces", &other, &padding(9))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fake.asked.load(SeqCst), 1);
    // Five seconds, by the paused clock.
    assert_eq!(first.await.unwrap(), 14);
    let answer = http.send(post("/v1/traces", &other, &padding(9))).await;
    assert_eq!(answer.status, StatusCode::OK);
    // It costs the client that sent it its answer, as a panic in a consumer does.
    let panics = [PROTOBUF, ("authorization", "Bearer panics")];
    let mut lost = Client::http1(server.http).await;
    lost.try_send(post("/v1/traces", &panics, &padding(9))).await.unwrap_err();
    let answer = http.send(post("/v1/traces", &other, &padding(9))).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn ten_thousand_wrong_tokens_do_not_put_a_right_one_out() {
    let config = AuthConfig { max_remembered: 500, ..AuthConfig::new(Scheme::Bearer) };
    let (fake, auth) = fake(config);
    let server = Server::start(guarded(auth)).await;
    let mut attacker = Client::http2(server.grpc).await;
    let mut client = Client::http1(server.http).await;
    let right = [PROTOBUF, ("authorization", "Bearer good")];
    let path = Signal::Traces.grpc_path();
    for number in 0..10_000 {
        let value = bearer(&format!("guess {number}"));
        let headers = [("authorization", value.as_str())];
        let answer = attacker.send(raw_call(path, &headers, &frame(0, b""))).await;
        assert_eq!(answer.grpc_status(), 16);
        if number % 100 == 0 {
            let answer = client.send(post("/v1/traces", &right, &padding(9))).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
    }
    let again = fake.asked.load(SeqCst) - 10_000;
    assert!(again <= 10, "the right token was forgotten {again} times");
}

#[tokio::test]
async fn the_schemes_that_are_built_in_know_their_own_and_no_others() {
    let key = Scheme::Header("x-api-key".parse().unwrap());
    let tokens = || Tokens::new([("ann", "first"), ("bob", "second"), ("nobody", "")]);
    let passwords = Passwords::new([("ann", "pass"), ("bob", "word")]);
    let with = |scheme, authenticator| Auth::new(AuthConfig::new(scheme), authenticator).unwrap();
    let basic = |pair: &str| {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        ("authorization", format!("Basic {encoded}"))
    };
    let key_of = |key: &str| ("x-api-key", key.to_owned());
    let bearer_of = |token: &str| ("authorization", bearer(token));
    let basics = Auth::new(AuthConfig::new(Scheme::Basic), passwords).unwrap();
    let cases = [
        (with(Scheme::Bearer, tokens()), bearer_of("second"), Some("bob")),
        (with(Scheme::Bearer, tokens()), bearer_of("secon"), None),
        (with(Scheme::Bearer, tokens()), bearer_of(""), None),
        (with(Scheme::Bearer, tokens()), key_of("first"), None),
        (with(key.clone(), tokens()), key_of("first"), Some("ann")),
        (with(key.clone(), tokens()), bearer_of("first"), None),
        (with(key, tokens()), key_of(""), None),
        (basics.clone(), basic("ann:pass"), Some("ann")),
        (basics.clone(), basic("ann:word"), None),
        (basics.clone(), basic("annp:ass"), None),
        (basics, bearer_of("first"), None),
    ];
    for (auth, (name, value), expected) in cases {
        assert!(!format!("{auth:?}").contains("first"));
        let server = Server::start(guarded(auth)).await;
        let mut http = Client::http1(server.http).await;
        let headers = [PROTOBUF, (name, value.as_str())];
        let answer = http.send(post("/v1/traces", &headers, &padding(9))).await;
        let status = if expected.is_some() { 200 } else { 401 };
        assert_eq!(answer.status.as_u16(), status, "{name} {value}");
        let senders = server.fake.senders.lock().unwrap().clone();
        let expected: Vec<_> = expected.into_iter().map(|name| Some(name.to_owned())).collect();
        assert_eq!(senders, expected);
    }
}

/// A second level that is a map.
#[derive(Clone, Debug, Default)]
struct Map(Arc<std::sync::Mutex<std::collections::HashMap<Bytes, Bytes>>>);

impl SecondLevel for Map {
    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Stored>>, SecondLevelError> {
        let map = self.0.lock().unwrap();
        let stored = |value: &Bytes| Stored { value: value.clone(), remaining: None };
        Ok(keys.iter().map(|key| map.get(key).map(stored)).collect())
    }

    async fn set_many(
        &self,
        entries: &[(Bytes, Bytes)],
        _: Duration,
    ) -> Result<usize, SecondLevelError> {
        self.0.lock().unwrap().extend(entries.iter().cloned());
        Ok(entries.len())
    }

    async fn remove_many(&self, _: &[Bytes]) -> Result<usize, SecondLevelError> {
        Err(SecondLevelError::Refused)
    }
}

#[tokio::test]
async fn what_one_process_has_found_out_another_knows_and_the_token_is_nowhere() {
    let map = Map::default();
    let mut asked = Vec::new();
    for (salt, token, status) in [
        (1, "good", 200),
        (1, "good", 200),
        (1, "barred", 403),
        (1, "barred", 403),
        (2, "good", 200),
    ] {
        let fake = Arc::new(Fake { asked: AtomicUsize::new(0), gate: Semaphore::new(0) });
        let config = AuthConfig::new(Scheme::Bearer);
        let shared = Shared(Arc::clone(&fake));
        let auth = Auth::with_second_level(config, shared, map.clone(), [salt; 32]).unwrap();
        let server = Server::start(guarded(auth)).await;
        let mut http = Client::http1(server.http).await;
        let value = bearer(token);
        let headers = [PROTOBUF, ("authorization", value.as_str())];
        let answer = http.send(post("/v1/traces", &headers, &padding(9))).await;
        assert_eq!(answer.status.as_u16(), status);
        asked.push(fake.asked.load(SeqCst));
    }
    assert_eq!(asked, [1, 0, 1, 0, 1]);
    let map = map.0.lock().unwrap();
    assert_eq!(map.len(), 3);
    let holds = |bytes: &Bytes, text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    assert!(!map.iter().any(|(key, value)| holds(key, b"good") || holds(value, b"good")));
}

#[cfg(feature = "htpasswd")]
#[tokio::test]
async fn passwords_of_people_are_verified_beside_the_event_loop() {
    use teleflow_receiver::auth::Htpasswd;

    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = Htpasswd::parse(&format!("ann:{hash}")).unwrap();
    let auth = Auth::new(AuthConfig::new(Scheme::Basic), users).unwrap();
    let server = Server::start(guarded(auth)).await;
    let mut grpc = Client::http2(server.grpc).await;
    for (pair, code) in [("YW5uOnNlY3JldA==", 0), ("YW5uOndyb25n", 16), ("Ym9iOnNlY3JldA==", 16)] {
        let value = format!("Basic {pair}");
        let headers = [("authorization", value.as_str())];
        let call = raw_call(Signal::Traces.grpc_path(), &headers, &frame(0, &padding(9)));
        let answer = grpc.send(call).await;
        assert_eq!(answer.grpc_status(), code);
        let challenge = if code == 0 { "" } else { "Basic realm=\"otlp\", charset=\"UTF-8\"" };
        assert_eq!(answer.header("www-authenticate"), challenge);
    }
}
