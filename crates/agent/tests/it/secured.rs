//! One gateway sends to another over TLS, each with a certificate.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use teleflow::Signal;
use tempfile::TempDir;

use crate::admin::send;
use crate::books::Books;
use crate::program::{Ended, Program};

/// A folder with the certificates of both sides and whoever issued them.
#[derive(Debug)]
struct Certificates {
    folder: TempDir,
    /// The client's key, in base64 without line breaks: what must never be shown.
    secret: String,
}

// === impl Certificates ===

impl Certificates {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let issue = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            write(&format!("{name}.pem"), params.self_signed(&key).unwrap().pem());
            Issuer::new(params, key)
        };
        let (issuer, _) = (issue("ca"), issue("stranger"));
        let mut secret = String::new();
        for (name, usage) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let mut params = CertificateParams::new([format!("{name}.test")]).unwrap();
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            write(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
            secret = key.serialize_pem();
            write(&format!("{name}.key"), secret.clone());
        }
        let secret = secret.lines().nth(1).unwrap().to_owned();
        Self { folder, secret }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A gateway that lets nobody in without a certificate, and shows what it gets.
    fn receiver(&self) -> Program {
        self.receiver_with("", "")
    }

    /// One that lets in only those whose certificate has this name.
    fn receiver_for(&self, name: &str) -> Program {
        let extension = format!("certificateauth: {{ names: [{name}] }}");
        self.receiver_with("auth: { authenticator: certificateauth }", &extension)
    }

    fn receiver_with(&self, auth: &str, extension: &str) -> Program {
        let running = service("debug", "debug");
        let running = if extension.is_empty() {
            running
        } else {
            let id = extension.split(':').next().unwrap();
            running
                .replace("[admin]", &format!("[admin, {id}]"))
                .replace("extensions:\n  admin", &format!("extensions:\n  {extension}\n  admin"))
        };
        let path = self.path().display();
        let tls = format!(
            "{{ cert_file: {path}/server.pem, key_file: {path}/server.key, \
             client_ca_file: {path}/ca.pem, min_version: '1.3' }}"
        );
        Program::start(
            &format!(
                "
receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: 127.0.0.1:0, tls: {tls}, {auth} }}
      http: {{ endpoint: 127.0.0.1:0, tls: {tls}, {auth} }}
exporters:
  debug:
{running}"
            ),
            &[],
        )
    }

    /// What trusts the server's certificate because of `ca`.
    fn tls(&self, ca: &str) -> String {
        let path = self.path().display();
        format!("ca_file: {path}/{ca}.pem, server_name_override: server.test")
    }

    /// What shows the client's certificate.
    fn identity(&self) -> String {
        let path = self.path().display();
        format!("cert_file: {path}/client.pem, key_file: {path}/client.key")
    }
}

/// A gateway that sends traces over gRPC, and the rest over HTTP as JSON.
fn sender(to: &Program, tls: &str, retry: &str) -> Program {
    let (grpc, http) = (to.grpc(), to.http());
    Program::start(
        &format!(
            "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  otlp:
    endpoint: {grpc}
    tls: {{ {tls} }}
    compression: zstd
    {retry}
  otlphttp:
    endpoint: https://{http}
    tls: {{ {tls} }}
    compression: zstd
    encoding: json
    {retry}
{}",
            service("otlp", "otlphttp")
        ),
        &[],
    )
}

pub(crate) fn service(of_traces: &str, of_others: &str) -> String {
    format!(
        "
extensions:
  admin: {{ endpoint: 127.0.0.1:0 }}
service:
  extensions: [admin]
  pipelines:
    traces: {{ receivers: [otlp], exporters: [{of_traces}] }}
    metrics: {{ receivers: [otlp], exporters: [{of_others}] }}
    logs: {{ receivers: [otlp], exporters: [{of_others}] }}
"
    )
}

/// Sends some of each signal to one program, which sends it to the other, and ends both: all of it
/// has come through both.
pub(crate) async fn all_arrives(sender: Program, receiver: Program) -> [Ended; 2] {
    let sent = send_all(&sender).await;
    let (sender, receiver) = (sender.terminate(), receiver.terminate());
    let (from, to) = (Books::parse(&sender.stdout), Books::parse(&receiver.stdout));
    for signal in Signal::ALL {
        let (from, to) = (from.of(signal.name()), to.of(signal.name()));
        let items = sent[signal.index()];
        assert_eq!((from.accepted, from.delivered), (items, items), "{from:?}");
        assert_eq!((to.accepted, to.delivered), (items, items), "{to:?}");
    }
    [sender, receiver]
}

/// Sends some of each signal, and counts the items.
pub(crate) async fn send_all(program: &Program) -> [u64; 3] {
    let mut sent = [0; 3];
    for seed in 1..10 {
        for signal in Signal::ALL {
            sent[signal.index()] += send(program, signal, seed).await;
        }
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_over_tls_with_certificates_of_both_sides() {
    let certificates = Certificates::make();
    everything_arrives(&certificates, certificates.receiver()).await;
    everything_arrives(&certificates, certificates.receiver_for("client.test")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_from_a_client_whose_certificate_has_another_name() {
    let certificates = Certificates::make();
    let receiver = certificates.receiver_for("other.test");
    let tls = format!("{}, {}", certificates.tls("ca"), certificates.identity());
    nothing_arrives(receiver, &tls).await;
}

async fn everything_arrives(certificates: &Certificates, receiver: Program) {
    let sender =
        sender(&receiver, &format!("{}, {}", certificates.tls("ca"), certificates.identity()), "");
    let sent = send_all(&sender).await;
    // What it has accepted it delivers before it ends.
    let (sender, receiver) = (sender.terminate(), receiver.terminate());
    assert!(sender.status.success() && receiver.status.success(), "{sender:?} {receiver:?}");
    let (from, to) = (Books::parse(&sender.stdout), Books::parse(&receiver.stdout));
    for signal in Signal::ALL {
        let (from, to) = (from.of(signal.name()), to.of(signal.name()));
        let items = sent[signal.index()];
        assert!(items > 0);
        assert_eq!((from.accepted, from.delivered), (items, items), "{from:?}");
        assert_eq!((to.accepted, to.delivered), (items, items), "{to:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_a_server_that_a_stranger_vouches_for() {
    let certificates = Certificates::make();
    let receiver = certificates.receiver();
    let tls = format!("{}, {}", certificates.tls("stranger"), certificates.identity());
    let sender = nothing_arrives(receiver, &tls).await;
    for exporter in ["\"otlp\"", "\"otlphttp\""] {
        let said = sender.stderr.lines().filter(|line| line.contains(exporter));
        let said: Vec<_> = said.filter(|line| line.contains("over TLS")).collect();
        // Once, however often it was tried.
        assert_eq!(said.len(), 1, "{sender:?}");
        assert!(said[0].contains("invalid peer certificate"), "{said:?}");
    }
    assert!(!sender.stderr.contains(&certificates.secret), "{sender:?}");
    assert!(!sender.stderr.contains("PRIVATE KEY"), "{sender:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_from_a_client_without_a_certificate() {
    let certificates = Certificates::make();
    let receiver = certificates.receiver();
    nothing_arrives(receiver, &certificates.tls("ca")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_handed_json_in_zstd() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }}
exporters:
  debug:
  otlphttp:
    endpoint: http://collector.test/base
    proxy_url: http://me:hunter2@{}
    compression: zstd
    encoding: json
    retry_on_failure: {{ enabled: false }}
{}",
        proxy.local_addr().unwrap(),
        service("debug", "otlphttp")
    );
    let program = Program::start(&config, &[]);
    send(&program, Signal::Logs, 1).await;
    let (stream, _) = proxy.accept().unwrap();
    // bounded wait: the request comes from another process.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let lines = BufReader::new(stream).lines().map(|line| line.unwrap().to_ascii_lowercase());
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    assert_eq!(head[0], "post http://collector.test/base/v1/logs http/1.1");
    for line in ["content-type: application/json", "content-encoding: zstd"] {
        assert!(head.iter().any(|found| found == line), "{line} in {head:?}");
    }
    assert!(head.iter().any(|line| line.starts_with("proxy-authorization: basic ")), "{head:?}");
    // The connection has ended without an answer: what was sent is in the books.
    let ended = program.terminate();
    let books = Books::parse(&ended.stdout);
    assert_eq!(books.of("logs").dropped, books.of("logs").accepted);
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
}

/// Sends what is not delivered, and checks that both books say so.
async fn nothing_arrives(receiver: Program, tls: &str) -> Ended {
    let sender = sender(&receiver, tls, "retry_on_failure: { enabled: false }");
    let sent = send_all(&sender).await;
    let (sender, receiver) = (sender.terminate(), receiver.terminate());
    let books = Books::parse(&sender.stdout);
    let received = Books::parse(&receiver.stdout);
    for signal in Signal::ALL {
        let row = books.of(signal.name());
        assert_eq!((row.accepted, row.delivered), (sent[signal.index()], 0), "{row:?}");
        // Without a connection dropped, with one that is denied rejected.
        assert_eq!((row.dropped + row.rejected, row.held), (row.accepted, 0), "{row:?}");
        assert_eq!(received.of(signal.name()).accepted, 0);
    }
    sender
}
