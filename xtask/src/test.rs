//! `test`: every test that this machine can run, and the names of those it cannot.
//!
//! A test that lacks a program says so itself: it appends `NAME: REASON` to the file that
//! [`SKIPS`] names, prints the same and returns. libtest counts it as passed; here it is counted
//! as skipped.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xshell::Shell;

use crate::collector;
use crate::flags;
use crate::interop;
use crate::redis;
use crate::workspace::{self, Workspace};

/// The variable with the path of the file to which a test adds that it was skipped, and why.
const SKIPS: &str = "TELEFLOW_SKIPS";

/// How long the output may stay open after its test program ended.
const GRACE: Duration = Duration::from_secs(10);

/// What came of all tests.
#[derive(Debug, Default)]
pub struct Outcome {
    tally: Tally,
    /// `NAME: REASON`, from the tests themselves.
    skips: Vec<String>,
    problems: Vec<String>,
}

/// What libtest says in its lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    /// The names of those that failed.
    failures: Vec<String>,
    /// `NAME: REASON`; libtest does not run them.
    ignored: Vec<String>,
}

pub fn run(
    sh: &Shell,
    workspace: &Workspace,
    flags: &flags::Test,
    passed_on: &[OsString],
) -> Result<ExitCode> {
    let outcome = every_test(sh, workspace, flags.filter.as_deref(), passed_on)?;
    outcome.print_problems();
    println!("{}", outcome.closing_line());
    Ok(outcome.code())
}

/// Runs the tests and lists what was skipped.
pub fn every_test(
    sh: &Shell,
    workspace: &Workspace,
    filter: Option<&str>,
    passed_on: &[OsString],
) -> Result<Outcome> {
    let sdks = interop::prepare(sh, workspace)?;
    let redis = redis::prepare(sh, workspace)?;
    let collector = collector::prepare(sh, workspace);
    let skips = workspace.target.join("test-skips.txt");
    fs::create_dir_all(&workspace.target)?;
    fs::write(&skips, "").with_context(|| format!("cannot write {}", skips.display()))?;

    let mut outcome = Outcome::default();
    // `--all-targets` would run the benchmarks and leave out what the documentation shows.
    for targets in [&["--tests", "--examples"][..], &["--doc"]] {
        let fixed = ["test", "--workspace", "--all-features", "--locked", "--no-fail-fast"];
        let cmd = workspace::cargo(sh, fixed).args(targets).args(filter).arg("--").args(passed_on);
        workspace::announce(sh, &cmd);
        let mut command = Command::from(cmd);
        command.env(SKIPS, &skips);
        sdks.iter().for_each(|sdk| sdk.describe(&mut command));
        redis.describe(&mut command)?;
        collector.describe(&mut command);

        let failures_before = outcome.tally.failures.len();
        let status = stream(command, &mut outcome.tally)?;
        let failures = &outcome.tally.failures[failures_before..];
        if !failures.is_empty() {
            outcome.problems.push(format!("tests failed: {}", failures.join(", ")));
        } else if !status.success() {
            let targets = targets.join(" ");
            let problem =
                format!("`cargo test {targets}` ended with {status}, though no test failed");
            outcome.problems.push(problem);
        }
    }
    outcome.skips = read_skips(&skips)?;
    outcome.list_skipped();
    if env::var("CI").is_ok_and(|value| value == "true") {
        outcome.forbid_skips(|skip| collector.excuses(skip));
    }
    Ok(outcome)
}

fn read_skips(path: &Path) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Runs `command`, passes its output on as it comes and counts what libtest reports.
fn stream(mut command: Command, tally: &mut Tally) -> Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let lines = lines_of(&mut child)?;
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                io::stdout().write_all(&line)?;
                io::stdout().flush()?;
                tally.read(&String::from_utf8_lossy(&line));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(child.wait()?),
            Err(RecvTimeoutError::Timeout) => {
                // The pipe stays open as long as someone holds it: a program that a failed test
                // left behind must not hold up the report.
                if let Some((status, since)) = ended {
                    if GRACE <= since.elapsed() {
                        eprintln!("note: a program that a test started is still running");
                        return Ok(status);
                    }
                } else if let Some(status) = child.try_wait()? {
                    ended = Some((status, Instant::now()));
                }
            }
        }
    }
}

fn lines_of(child: &mut Child) -> Result<Receiver<Vec<u8>>> {
    let output = child.stdout.take().context("the output of `cargo test` is not piped")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            match output.read_until(b'\n', &mut line) {
                Ok(1..) if sender.send(line).is_ok() => {}
                _ => break,
            }
        }
    });
    Ok(receiver)
}

// === impl Tally ===

impl Tally {
    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...` and `test NAME ... VERDICT`.
    fn read(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test ") else {
            return;
        };
        if let Some(result) = rest.strip_prefix("result: ") {
            self.passed += number_before(result, " passed;").unwrap_or_default();
            self.failed += number_before(result, " failed;").unwrap_or_default();
        } else if let Some((name, verdict)) = rest.trim_end().rsplit_once(" ... ") {
            let verdict = without_colour(verdict);
            if verdict.starts_with("FAILED") {
                self.failures.push(name.to_owned());
            } else if let Some(reason) = verdict.strip_prefix("ignored") {
                let reason = reason.trim_start_matches([',', ' ']);
                let reason = if reason.is_empty() { "ignored" } else { reason };
                self.ignored.push(format!("{name}: {reason}"));
            }
        }
    }
}

fn number_before(text: &str, word: &str) -> Option<usize> {
    text.split_once(word)?.0.rsplit(' ').next()?.parse().ok()
}

/// Takes out the escape sequences with which rustdoc's tests colour their verdict.
fn without_colour(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| match part.strip_prefix("(B") {
        Some(rest) => rest,
        None => part.split_once('m').map_or("", |(_, rest)| rest),
    });
    std::iter::once(first).chain(rest).collect()
}

// === impl Outcome ===

impl Outcome {
    /// The very last line of a run.
    pub fn closing_line(&self) -> String {
        // libtest counted a test that skipped itself as passed.
        let passed = self.tally.passed.saturating_sub(self.skips.len());
        let skipped = self.skipped().count();
        format!("{passed} passed, {} failed, {skipped} skipped", self.tally.failed)
    }

    pub fn code(&self) -> ExitCode {
        if self.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    pub fn print_problems(&self) {
        for problem in &self.problems {
            eprintln!("error: {problem}");
        }
    }

    /// Adds what else went wrong in the same run.
    pub fn add_problems(&mut self, problems: Vec<String>) {
        self.problems.splice(0..0, problems);
    }

    fn skipped(&self) -> impl Iterator<Item = &String> {
        self.skips.iter().chain(&self.tally.ignored)
    }

    fn list_skipped(&self) {
        if self.skipped().next().is_some() {
            println!("\nskipped:");
        }
        for skip in self.skipped() {
            println!("  {skip}");
        }
        println!();
    }

    fn forbid_skips(&mut self, is_excused: impl Fn(&str) -> bool) {
        let skipped = self.skipped().map(String::as_str).filter(|skip| !is_excused(skip));
        let skipped: Vec<&str> = skipped.collect();
        if !skipped.is_empty() {
            let problem =
                format!("CI runs every test, and these were skipped: {}", skipped.join("; "));
            self.problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn the_results_of_all_programs_are_added_up() {
        let tally = tally(
            "running 3 tests\n\
             test a ... ok\n\
             test b ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             \n\
             test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 40 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out\n",
        );
        let expected =
            Tally { passed: 41, failed: 1, failures: vec!["b".to_owned()], ignored: Vec::new() };
        assert_eq!(tally, expected);
    }

    #[test]
    fn ignored_tests_are_named_with_their_reason() {
        let tally = tally(
            "test a::b ... ignored, takes an hour\n\
             test src/lib.rs - f (line 3) ... \u{1b}[33mignored\u{1b}(B\u{1b}[m\n\
             test not_ignored ... ok\n",
        );
        assert_eq!(tally.ignored, ["a::b: takes an hour", "src/lib.rs - f (line 3): ignored"]);
    }

    #[test]
    fn a_test_that_skipped_itself_has_not_passed() {
        let mut outcome = Outcome {
            tally: Tally {
                passed: 5,
                failed: 1,
                failures: vec!["d".to_owned()],
                ignored: vec!["c: slow".to_owned()],
            },
            skips: vec!["a: no python3".to_owned(), "b: no go".to_owned()],
            ..Outcome::default()
        };
        assert_eq!(outcome.closing_line(), "3 passed, 1 failed, 3 skipped");

        outcome.forbid_skips(|skip| skip == "b: no go");
        let expected = "CI runs every test, and these were skipped: a: no python3; c: slow";
        assert_eq!(outcome.problems, [expected]);
    }

    #[test]
    fn nothing_is_forbidden_where_nothing_was_skipped() {
        let mut outcome = Outcome::default();
        outcome.forbid_skips(|_| false);
        assert!(outcome.problems.is_empty());
        assert_eq!(outcome.closing_line(), "0 passed, 0 failed, 0 skipped");
    }
}
