//! The real program, from outside.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod admin;
mod attacks;
mod books;
mod commands;
mod interop;
mod malformed;
mod program;
mod secured;
mod shutdown;
