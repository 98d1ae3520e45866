//! The program `teleflow`: an OTLP gateway.
//!
//! Everything is parsed and checked before anything is opened: command line, then config file,
//! then the pipeline's parts against each other.

#![forbid(unsafe_code)]
#[macro_use]
mod talk;

mod admin;
mod cli;
mod config;
mod demo;
mod explain;
mod gateway;
mod log;
mod metrics;
mod process;
mod reload;
mod run;
mod stop;
mod watched;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    log::panics();
    let _flushed = talk::LastWords;
    let done = match cli::Cli::parse().command() {
        cli::Command::Run(args) => run::run(&args),
        cli::Command::Demo(args) => demo::run(&args),
        cli::Command::Validate(args) => run::validate(&args),
        cli::Command::Explain(args) => explain::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("teleflow: {error:#}");
            ExitCode::FAILURE
        }
    }
}
