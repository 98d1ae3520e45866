//! Who may send is asked for credentials, over both protocols, and what sends has them.

use std::fs;

use http::Request;
use teleflow::Signal;

use crate::malformed::client::{Client, frame, post};
use crate::program::Program;
use crate::secured::{all_arrives, service};

/// One way to authenticate.
struct Way {
    /// For receivers.
    server: &'static str,
    /// For exporters.
    client: &'static str,
    /// What a client has to show, and what it may not.
    header: &'static str,
    right: &'static [&'static str],
    wrong: &'static [&'static str],
}

const WAYS: [Way; 3] = [
    Way {
        server: "bearertokenauth: { filename: $/tokens }",
        client: "bearertokenauth: { token: hunter2 }",
        header: "authorization",
        right: &["Bearer hunter2", "bearer second"],
        wrong: &["Bearer hunter3", "Bearer", "Basic aHVudGVyMjo=", "hunter2"],
    },
    Way {
        // The first one's password is `U*U`, as in bcrypt's own tests.
        server: r#"basicauth:
    htpasswd:
      file: $/htpasswd
      inline: "bob:hunter2""#,
        client: "basicauth: { client_auth: { username: ann, password_file: $/password } }",
        header: "authorization",
        right: &["Basic YW5uOlUqVQ==", "Basic Ym9iOmh1bnRlcjI="],
        wrong: &["Basic YW5uOmh1bnRlcjI=", "Basic ZXZlOlUqVQ==", "Bearer hunter2"],
    },
    Way {
        server: "apikeyauth: { keys: [hunter2, other], header: X-Key }",
        client: "apikeyauth: { key: hunter2, header: X-Key }",
        header: "x-key",
        right: &["hunter2", "other"],
        wrong: &["Bearer hunter2", "hunter"],
    },
];

/// Runs an empty request with this header, and says whether it was let in, by gRPC and by HTTP.
async fn is_let_in(program: &Program, header: Option<(&str, &str)>) -> [bool; 2] {
    let with = |mut request: Request<_>| {
        if let Some((name, value)) = header {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    };
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = with(post(Signal::Logs.grpc_path(), &headers, frame(0, b"")));
    let grpc = Client::http2(program.grpc()).await.send(call).await.unwrap();
    let headers = [("content-type", "application/x-protobuf")];
    let request = with(post(Signal::Logs.http_path(), &headers, ""));
    let http = Client::http1(program.http()).await.send(request).await.unwrap();
    assert!(matches!(grpc.grpc_status(), Some(0 | 16)), "{grpc:?}");
    assert!(matches!(http.status.as_u16(), 200 | 401), "{http:?}");
    if http.status.as_u16() == 401 {
        assert_eq!(http.rpc_status().unwrap().code, 16);
    }
    [grpc.grpc_status() == Some(0), http.status.as_u16() == 200]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_with_credentials_are_let_in_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    fs::write(folder.path().join("tokens"), "hunter2\n\nsecond\n").unwrap();
    fs::write(folder.path().join("password"), "U*U\n").unwrap();
    let hash = "ann:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
    fs::write(folder.path().join("htpasswd"), hash).unwrap();
    for Way { server, client, header, right, wrong } in WAYS {
        let id = server.split(':').next().unwrap();
        let running = |extension: &str, of_traces: &str, of_others: &str| {
            let service =
                service(of_traces, of_others).replace("[admin]", &format!("[admin, {id}]"));
            let extension = extension.replace('$', path);
            service.replace("extensions:\n  admin", &format!("extensions:\n  {extension}\n  admin"))
        };
        let receiver = Program::start(
            &format!(
                "
receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: 127.0.0.1:0, auth: {{ authenticator: {id} }} }}
      http: {{ endpoint: 127.0.0.1:0, auth: {{ authenticator: {id} }} }}
exporters:
  debug:
{}",
                running(server, "debug", "debug")
            ),
            &[],
        );
        assert_eq!(is_let_in(&receiver, None).await, [false; 2], "{id}");
        for value in right {
            assert_eq!(
                is_let_in(&receiver, Some((header, value))).await,
                [true; 2],
                "{id} {value}"
            );
        }
        for value in wrong {
            assert_eq!(
                is_let_in(&receiver, Some((header, value))).await,
                [false; 2],
                "{id} {value}"
            );
        }

        let (grpc, http) = (receiver.grpc(), receiver.http());
        let sender = Program::start(
            &format!(
                "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  otlp: {{ endpoint: 'http://{grpc}', auth: {{ authenticator: {id} }} }}
  otlphttp: {{ endpoint: 'http://{http}', auth: {{ authenticator: {id} }} }}
{}",
                running(client, "otlp", "otlphttp")
            ),
            &[],
        );
        let [sender, receiver] = all_arrives(sender, receiver).await;
        for said in [sender.stderr, receiver.stderr] {
            assert!(!said.contains("hunter2") && !said.contains("U*U"), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_added_to_the_file_is_let_in_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "first\n").unwrap();
    let config = format!(
        "
receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: 127.0.0.1:0, auth: {{ authenticator: bearertokenauth }} }}
      http: {{ endpoint: 127.0.0.1:0, auth: {{ authenticator: bearertokenauth }} }}
exporters:
  debug:
{}",
        service("debug", "debug").replace("[admin]", "[admin, bearertokenauth]").replace(
            "extensions:\n  admin",
            &format!(
                "extensions:\n  bearertokenauth: {{ filename: {} }}\n  admin",
                tokens.display()
            )
        )
    );
    let program = Program::start(&config, &[]);
    let token = |token: &'static str| Some(("authorization", token));
    assert_eq!(is_let_in(&program, token("Bearer first")).await, [true; 2]);
    fs::write(&tokens, "first\nsecond\n").unwrap();
    // One that was not tried before: a wrong one is remembered for a while.
    assert_eq!(is_let_in(&program, token("Bearer second")).await, [true; 2]);
    assert_eq!(is_let_in(&program, token("Bearer third")).await, [false; 2]);
    assert!(program.terminate().status.success());
}
