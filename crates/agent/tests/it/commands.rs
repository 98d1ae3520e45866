//! The command line: what it says, where it ends, and with which status.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

use rusqlite::Connection;

use crate::books::Books;

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
    for args in [&["--help"][..], &["demo", "--help"]] {
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

#[test]
fn the_demo_names_a_taken_port_and_the_flag_to_choose_another() {
    let (_taken, address) = taken_port();
    for flag in ["--grpc", "--http", "--admin"] {
        let folder = tempfile::tempdir().unwrap();
        let mut args = vec!["demo".to_owned(), "--for".to_owned(), "1s".to_owned()];
        for other in ["--grpc", "--http", "--admin"] {
            let address = if other == flag { address.to_string() } else { "127.0.0.1:0".into() };
            args.extend([other.to_owned(), address]);
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let output = teleflow(folder.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.contains(&format!("on {address}")), "{error}");
        assert!(error.contains(flag), "{error}");
    }
}

#[test]
fn the_demo_ends_by_itself_and_its_counts_agree_with_the_books_and_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let [grpc, http, admin] = free_ports().map(|address| address.to_string());
    let args = ["demo", "--for", "2s", "--grpc", &grpc, "--http", &http, "--admin", &admin];
    let output = teleflow(folder.path(), &args);
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout);
    assert!(!shown.contains("requests failed"), "{shown}");

    let store = Connection::open(folder.path().join("teleflow-demo.db")).unwrap();
    let books = Books::parse(&shown);
    for (lane, items, table) in [
        ("traces", "spans", "spans"),
        ("metrics", "metric_points", "metric_points"),
        ("logs", "log_records", "logs"),
    ] {
        let row = books.of(lane);
        assert!(row.delivered > 0, "{row:?}");
        assert_eq!((row.rejected, row.dropped, row.held), (0, 0, 0), "{row:?}");
        let generated = generated(&shown, items);
        assert_eq!(generated, row.accepted, "{row:?}");
        let query = format!("SELECT count(*) FROM {table}");
        let stored: i64 = store.query_row(&query, [], |row| row.get(0)).unwrap();
        assert_eq!(stored as u64, row.delivered, "{row:?}");
    }
    assert!(books.of("traces").sampled_out > 0, "{shown}");
    assert!(shown.contains("the slowest kept trace"), "{shown}");
}

/// What the demo's generator says that it sent: `spans   generated   accepted  equal`.
fn generated(shown: &str, items: &str) -> u64 {
    let counts = shown.lines().find_map(|line| {
        let rest = line.strip_prefix(items)?.strip_suffix("equal")?;
        rest.split_whitespace().next()?.parse().ok()
    });
    counts.unwrap_or_else(|| panic!("no line of equal {items} in {shown}"))
}

/// Runs the program to its end.
fn teleflow(folder: &Path, args: &[&str]) -> Output {
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

/// Ports that were free a moment ago: the demo takes no port of the system's choice.
fn free_ports() -> [SocketAddr; 3] {
    let taken: [_; 3] = std::array::from_fn(|_| taken_port());
    taken.map(|(_, address)| address)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
