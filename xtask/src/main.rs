//! The project's tasks: `cargo xtask COMMAND`, or `cargo xtask --help`.

mod bench;
mod ci;
mod collector;
mod conformance;
mod features;
mod flags;
mod fuzz;
mod graph;
mod interop;
mod models;
mod redis;
mod sanitize;
mod test;
mod tidy;
mod workspace;

use std::env;
use std::process::ExitCode;

use anyhow::bail;

use crate::flags::{Xtask, XtaskCmd};
use crate::workspace::Workspace;

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> anyhow::Result<ExitCode> {
    let (own, passed_on) = flags::split(env::args_os().skip(1));
    let flags = Xtask::from_vec(own).unwrap_or_else(|error| error.exit());

    let takes_more = matches!(flags.subcommand, XtaskCmd::Test(_) | XtaskCmd::Bench(_));
    if !takes_more && !passed_on.is_empty() {
        bail!("only `test` and `bench` pass arguments on after `--`");
    }

    let sh = workspace::shell()?;
    let workspace = Workspace::read(&sh)?;
    match flags.subcommand {
        XtaskCmd::Bench(flags) => bench::run(&sh, &workspace, &flags, &passed_on)?,
        XtaskCmd::Ci(_) => return ci::run(&sh, &workspace),
        XtaskCmd::Conformance(flags) => conformance::run(&sh, &workspace, &flags)?,
        XtaskCmd::Features(_) => features::run(&sh, &workspace)?,
        XtaskCmd::Fuzz(flags) => {
            fuzz::run(&sh, &workspace, flags.target.as_deref(), flags.secs)?;
        }
        XtaskCmd::Graph(_) => graph::run(&sh, &workspace)?,
        XtaskCmd::Loom(flags) => models::run(&sh, &workspace, &models::LOOM, flags.short)?,
        XtaskCmd::Sanitize(flags) => sanitize::run(&sh, &workspace, flags.short)?,
        XtaskCmd::Shuttle(flags) => models::run(&sh, &workspace, &models::SHUTTLE, flags.short)?,
        XtaskCmd::Test(flags) => return test::run(&sh, &workspace, &flags, &passed_on),
        XtaskCmd::Tidy(_) => tidy::run(&sh, &workspace)?,
    }
    Ok(ExitCode::SUCCESS)
}
