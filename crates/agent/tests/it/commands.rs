//! The command line: what it says, where it ends, and with which status.

mod demo;
pub(crate) mod running;

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use teleflow::Signal;
use tokio::time::timeout;

use self::running::{Running, Stream, address};
use crate::admin::send_to;

const VALID: &str = "
receivers:
  otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0 } } }
exporters:
  debug:
service:
  pipelines:
    traces: { receivers: [otlp], exporters: [debug] }
";

#[test]
fn help_ends_with_examples_that_are_commands_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["--help"][..], &["demo", "--help"], &["explain", "--help"]] {
        let output = teleflow(folder.path(), args);
        assert!(output.status.success(), "{output:?}");
        let help = text(&output.stdout);
        let (_, examples) = help.split_once("Examples:\n").expect("there are examples");
        let mut ours = 0;
        for line in examples.lines() {
            // Two spaces separate a command from what is said of it.
            let command = line.trim_start().split("  ").next().unwrap();
            let Some(args) = command.strip_prefix("teleflow") else { continue };
            // Parsed, and then answered with help instead of being run.
            let args: Vec<_> = args.split_whitespace().chain(["--help"]).collect();
            let output = teleflow(folder.path(), &args);
            assert!(output.status.success(), "{command}: {output:?}");
            ours += 1;
        }
        assert!(ours >= 4, "{examples}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let output = teleflow(folder.path(), &["--version"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), concat!("teleflow ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_command_or_an_option_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (args, named) in [
        (&["restart"][..], "restart"),
        (&["run", "--listen", "x"], "--listen"),
        (&["demo", "--for", "soon"], "soon"),
        (&["validate"], "--config <FILE>"),
    ] {
        let output = teleflow(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(named), "{args:?}: {output:?}");
    }
}

#[test]
fn a_valid_file_is_said_to_be_so_and_starts_nothing() {
    let folder = folder_with(VALID);
    let output = teleflow(folder.path(), &["validate", "--config", "teleflow.yaml"]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).starts_with("teleflow.yaml is valid"), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was created");
}

#[test]
fn a_file_that_cannot_be_run_is_refused_with_the_place_and_what_is_known() {
    for (wrong, right, says) in [
        (
            "debug:",
            "debug: { verbose: true }",
            "teleflow.yaml:5:12: unknown key `verbose` in exporters.debug",
        ),
        ("debug:", "debug: { verbose: true }", "verbosity"),
        ("  debug:", "  debugg:", "teleflow.yaml:5:3: unknown component `debugg` in exporters"),
        ("  debug:", "  debugg:", "known: debug, "),
        ("receivers: [otlp]", "receivers: [oltp]", "teleflow.yaml:8:27: "),
        ("service:", "service: [", "teleflow.yaml:"),
    ] {
        let folder = folder_with(&VALID.replace(wrong, right));
        // `run` refuses what `validate` refuses, in the same words.
        let mut outputs = Vec::new();
        for command in ["validate", "run"] {
            let output = teleflow(folder.path(), &[command, "--config", "teleflow.yaml"]);
            assert_eq!(output.status.code(), Some(1), "{right}: {output:?}");
            assert_eq!(text(&output.stdout), "");
            assert!(text(&output.stderr).contains(says), "{says} in {}", text(&output.stderr));
            outputs.push(output.stderr);
        }
        assert_eq!(outputs[0], outputs[1]);
    }
}

#[test]
fn what_only_a_sampler_can_tell_is_found_at_the_line_of_the_policy() {
    const SAMPLING: &str = "
receivers:
  otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0 } } }
processors:
  tail_sampling:
    policies:
      - { name: fine, type: always_sample }
      - { name: regex, type: string_attribute, string_attribute: { key: k, values: ['a('], enabled_regex_matching: true } }
      - name: outer
        type: and
        and:
          and_sub_policy:
            - { name: inner, type: ottl_condition, ottl_condition: { span: ['span.attributes['] } }
  adaptive_tail_sampling:
    rules:
      - { name: first, conditions: ['span.kind == '], sampler: { type: always_sample } }
exporters:
  debug:
service:
  pipelines:
    traces: { receivers: [otlp], processors: [tail_sampling], exporters: [debug] }
";
    let folder = folder_with(SAMPLING);
    let says = |folder: &Path| {
        let outputs = ["validate", "run"].map(|command| {
            let output = teleflow(folder, &[command, "--config", "teleflow.yaml"]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            text(&output.stderr)
        });
        assert_eq!(outputs[0], outputs[1]);
        outputs[0].clone()
    };
    // Each sampler tells its first mistake.
    let said = says(folder.path());
    assert!(
        said.contains("teleflow.yaml:8:9: processors.tail_sampling: the policy `regex` "),
        "{said}"
    );
    let rule = "teleflow.yaml:16:9: processors.adaptive_tail_sampling: the rule `first` ";
    assert!(said.contains(rule), "{said}");
    let folder = folder_with(&SAMPLING.replace("'a('", "a"));
    let said = says(folder.path());
    let policy = "teleflow.yaml:13:15: processors.tail_sampling: the policy `outer/inner` ";
    assert!(said.contains(policy), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["validate", "run"] {
        let output = teleflow(folder.path(), &[command, "--config", "nowhere.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains("nowhere.yaml"), "{output:?}");
    }
}

#[test]
fn a_taken_port_is_named_and_nothing_is_started() {
    let (_taken, address) = taken_port();
    let otlp = VALID.replace("127.0.0.1:0", &address.to_string());
    let admin = format!(
        "extensions: {{ admin: {{ endpoint: '{address}' }} }}\n{}",
        VALID.trim_start().replace("service:", "service:\n  extensions: [admin]")
    );
    for (config, for_what) in [(otlp, "OTLP/gRPC"), (admin, "/health")] {
        let folder = folder_with(&config);
        let output = teleflow(folder.path(), &["run", "--config", "teleflow.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains(for_what), "{error}");
        assert!(error.contains("in use"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_nobody_reads_does_not_keep_the_program_from_ending() {
    let config = "
receivers:
  otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0 } } }
exporters:
  debug: { verbosity: normal }
service:
  pipelines:
    traces: { receivers: [otlp], exporters: [debug] }
    metrics: { receivers: [otlp], exporters: [debug] }
    logs: { receivers: [otlp], exporters: [debug] }
";
    let folder = folder_with(config);
    let args = ["run", "--config", "teleflow.yaml", "--drain-timeout", "1s"];
    let mut running = Running::start(folder.path(), &args, Stream::Stderr);
    let announced = running.says("OTLP/gRPC on ");
    let grpc = address(&announced, "OTLP/gRPC on ");
    // bounded wait: a gateway that waits for its reader answers nobody.
    let answered = timeout(Duration::from_secs(60), async {
        for seed in 0..40 {
            for signal in Signal::ALL {
                send_to(grpc, signal, seed).await;
            }
        }
    });
    answered.await.expect("requests are answered");
    let (status, mut unread) = running.terminate();
    assert!(status.success(), "{status:?}");
    let mut written = Vec::new();
    unread.take().unwrap().read_to_end(&mut written).unwrap();
    assert!(written.len() >= 32 * 1024, "only {} bytes: the pipe was not full", written.len());
    assert!(!text(&written).contains("DOES NOT BALANCE"));
}

/// Runs the program to its end.
pub(crate) fn teleflow(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_teleflow"))
        .args(args)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn folder_with(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("teleflow.yaml"), config).unwrap();
    folder
}

/// A port that is taken for as long as the listener lives.
fn taken_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
