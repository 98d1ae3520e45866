//! The command line.

use std::ffi::OsString;

xflags::xflags! {
    /// The project's tasks.
    cmd xtask {
        /// Runs every test that this machine can run and names those it cannot.
        ///
        /// What follows `--` goes to the test programs.
        cmd test {
            /// Only the tests whose name contains this.
            optional filter: String
        }

        /// Checks the format, the conventions, the lints and the documentation, runs every test, and the
        /// short forms of `loom`, `shuttle`, `sanitize` and `fuzz`.
        cmd ci {}

        /// Checks the conventions that no compiler knows: floors, dependencies, documents, text.
        cmd tidy {}

        /// Writes the arrows between the crates into docs/architecture.md.
        cmd graph {}

        /// Runs the benchmarks, checks what they report and compares it with an earlier run.
        ///
        /// What follows `--` goes to the benchmark.
        cmd bench {
            /// Only this one.
            optional name: String
            /// Keeps the figures under this name.
            optional --save name: String
            /// A revision: counts instructions there and here, and compares only those. Else the
            /// name of kept figures, with which this run's are compared.
            optional --against revision_or_name: String
            /// How many percent worse than before is a failure; by default 2 with a revision, else 15.
            optional --threshold percent: f64
        }

        /// Checks the rules of OTLP: our receiver and our exporter, or a receiver at an address.
        cmd conformance {
            /// Checks the receiver at this HTTP address instead: `localhost:4318`.
            optional --receiver address: String
            /// Where that receiver takes gRPC.
            optional --grpc address: String
            /// Only our exporter.
            optional --exporter
            /// Also the Collector and the official SDKs, as far as they can be had.
            optional --peers
        }

        /// Checks each crate with no feature, with each one alone and with all of them.
        cmd features {}

        /// Runs the loom models: every order of two or three threads at the lock-free parts.
        ///
        /// Takes every package with a `tests/loom.rs`, in release, with `--cfg teleflow_loom`.
        cmd loom {
            /// Two preemptions instead of three, as in CI.
            optional --short
        }

        /// Runs the shuttle models: many random orders of what is too large for loom.
        ///
        /// Takes every package with a `tests/shuttle.rs`, in release, with
        /// `--cfg teleflow_shuttle`; TELEFLOW_SHUTTLE_ITERATIONS says how many orders.
        cmd shuttle {
            /// 100 orders instead of 2000, as in CI.
            optional --short
        }

        /// Feeds the decoders with random bytes, by cargo-fuzz with the address sanitizer.
        ///
        /// Runs the targets of `fuzz/fuzz_targets`, one after the other; installs cargo-fuzz under
        /// the target folder where it is missing.
        cmd fuzz {
            /// Only this one.
            optional target: String
            /// How many seconds each runs: 60.
            optional --secs seconds: u32
        }

        /// Runs the tests of the concurrent crates under the thread and the address sanitizer.
        ///
        /// Without the `rust-src` component the thread sanitizer runs the `lock_free` tests only.
        cmd sanitize {
            /// Fewer generated cases, as in CI.
            optional --short
        }
    }
}

/// Parts the arguments at `--`: what is ours, and what a test or benchmark program gets.
///
/// xflags would take the first argument after `--` for a positional one of ours.
pub fn split(arguments: impl Iterator<Item = OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let mut own: Vec<OsString> = arguments.collect();
    let Some(position) = own.iter().position(|argument| argument == "--") else {
        return (own, Vec::new());
    };
    let passed_on = own.split_off(position + 1);
    own.pop();
    (own, passed_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_after_the_double_dash_are_passed_on() {
        let list = |arguments: &[&str]| arguments.iter().map(OsString::from).collect::<Vec<_>>();
        let check = |arguments: &[&str], own: &[&str], passed_on: &[&str]| {
            assert_eq!(split(list(arguments).into_iter()), (list(own), list(passed_on)));
        };
        check(&["test", "name"], &["test", "name"], &[]);
        check(&["bench", "--", "--quick"], &["bench"], &["--quick"]);
        check(&["bench", "wire", "--", "a", "--", "b"], &["bench", "wire"], &["a", "--", "b"]);
    }
}
