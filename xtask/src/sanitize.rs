//! `sanitize`: the tests of the concurrent crates under the thread and the address sanitizer.
//!
//! Both are options of the compiler that the stable channel has and hides. Where the source of the
//! standard library is installed (the `rust-src` component), the library is built with them as well.
//! Elsewhere the thread sanitizer does not see the locks in there and takes what they guard for a
//! race; it then runs the tests with `lock_free` in their name, which meet in our own atomics only.

use std::path::Path;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::workspace::{self, Workspace};

/// The packages whose tests run: those with atomics, locks or unsafe code of their own.
const PACKAGES: &[&str] = &["teleflow-pool", "teleflow-concurrency"];

/// Sanitizers link with their own runtime, which not every target has.
const TARGET: &str = "x86_64-unknown-linux-gnu";

const THREAD: &str = "thread";
const SANITIZERS: &[&str] = &[THREAD, "address"];

/// What is in the name of a test that needs no lock of the standard library.
const LOCK_FREE: &str = "lock_free";

/// What the thread sanitizer reports of the test harness.
const SUPPRESSIONS: &str = "xtask/src/sanitize.supp";

/// What the address sanitizer takes for a leak of ours.
const LEAKS: &str = "xtask/src/sanitize-leaks.supp";

/// A short run has fewer generated cases.
const PROPTEST_CASES: (&str, &str) = ("PROPTEST_CASES", "8");

pub fn run(sh: &Shell, workspace: &Workspace, short: bool) -> Result<()> {
    let sysroot = cmd!(sh, "rustc --print sysroot").quiet().read().context("no rustc")?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    let builds_std = source.exists();
    if !builds_std {
        println!("note: no `rust-src`: the thread sanitizer runs the `{LOCK_FREE}` tests only");
    }

    let suppressions = workspace.root.join(SUPPRESSIONS);
    let leaks = workspace.root.join(LEAKS);
    let mut failed = Vec::new();
    for sanitizer in SANITIZERS {
        // Parts that are not built with a sanitizer may stand beside those that are.
        let flags = format!("-Zsanitizer={sanitizer} -Cunsafe-allow-abi-mismatch=sanitizer");
        for package in PACKAGES {
            let fixed =
                ["test", "--locked", "--package", package, "--target", TARGET, "--lib", "--tests"];
            let mut cmd = workspace::cargo(sh, fixed)
                .args(builds_std.then_some("-Zbuild-std"))
                .args((!builds_std && *sanitizer == THREAD).then_some(LOCK_FREE))
                .env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()))
                .env("LSAN_OPTIONS", format!("suppressions={}", leaks.display()))
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTFLAGS", &flags)
                .env("CARGO_TARGET_DIR", workspace.target.join(format!("sanitize-{sanitizer}")));
            if short {
                cmd = cmd.env(PROPTEST_CASES.0, PROPTEST_CASES.1);
            }
            workspace::announce(sh, &cmd);
            if cmd.run().is_err() {
                failed.push(format!("{package} ({sanitizer})"));
            }
        }
    }
    if !failed.is_empty() {
        bail!("sanitize: {}", failed.join(", "));
    }
    println!("sanitize: {} with {}, all good", PACKAGES.join(", "), SANITIZERS.join(" and "));
    Ok(())
}
