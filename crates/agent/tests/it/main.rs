//! The real program, from outside.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod admin;
mod attacks;
mod books;
mod commands;
mod explaining;
mod figures;
mod following;
mod guarded;
mod interop;
mod kills;
mod logging;
mod malformed;
mod persistent;
mod program;
mod reloading;
mod sampling;
mod secured;
mod several;
mod sharing;
mod shutdown;
mod sockets;
