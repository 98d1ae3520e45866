//! Tests that a machine cannot run.

use std::env;
use std::fs;
use std::io::Write as _;

/// Notes a test that this machine cannot run: in the file that `TELEFLOW_SKIPS` names, if it does.
///
/// # Panics
///
/// If that file cannot be written: a test must not be skipped unseen.
#[allow(clippy::print_stderr, reason = "who runs the tests is to see it")]
pub fn skipped(name: &str, reason: &str) {
    eprintln!("skipped: {name}: {reason}");
    if let Some(path) = env::var_os("TELEFLOW_SKIPS") {
        let mut file =
            fs::OpenOptions::new().create(true).append(true).open(path).expect("it can be opened");
        writeln!(file, "{name}: {reason}").expect("it can be written");
    }
}
