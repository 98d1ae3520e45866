//! The real program, from outside.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod admin;
mod books;
mod commands;
mod figures;
mod interop;
mod logging;
mod malformed;
mod program;
mod secured;
mod shutdown;
