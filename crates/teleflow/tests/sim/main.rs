//! Gateways, clients and backends on one thread, with everything between them that goes wrong.
//!
//! Each seed is a world of its own: clients send through one gateway to a second one, and that to
//! one or two backends. Requests and answers are late or lost, links are cut, the second gateway is
//! killed and comes back, backends are slow, busy, silent, or answer what cannot be read. Time is
//! tokio's, paused: it goes on when nobody has anything to do, so an hour takes no time, and a seed
//! that fails fails again.
//!
//! In worlds of a second kind ([`ring`]) two gateways share backends by trace, which join and leave. In
//! those of a third kind ([`shards`]) a gateway samples in shards, by rules that change.
//!
//! `TELEFLOW_SIM_SEEDS` says how many seeds (500, and 200 of the other kinds), `TELEFLOW_SIM_FIRST`
//! which is the first.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod backend;
mod client;
mod gateway;
mod link;
mod ring;
mod shards;
mod spans;
mod world;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::world::World;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn whatever_goes_wrong_every_span_is_accounted_for() {
    let first = number("TELEFLOW_SIM_FIRST", 0);
    let mut seen = world::Seen::default();
    for seed in first..first + number("TELEFLOW_SIM_SEEDS", 500) {
        let lived = catch_unwind(AssertUnwindSafe(|| World::live(seed)));
        seen.add(lived.unwrap_or_else(|_| panic!("TELEFLOW_SIM_FIRST={seed} fails")));
    }
    println!("{seen:?}");
    // A world in which nothing goes wrong would prove nothing.
    if env::var("TELEFLOW_SIM_SEEDS").is_err() {
        assert!(seen.is_rich(), "{seen:?}");
    }
}

#[test]
fn no_trace_is_split_while_the_ring_is_stable() {
    let first = number("TELEFLOW_SIM_FIRST", 0);
    let mut seen = ring::Seen::default();
    for seed in first..first + number("TELEFLOW_SIM_SEEDS", 200) {
        let lived = catch_unwind(AssertUnwindSafe(|| ring::live(seed)));
        seen.add(lived.unwrap_or_else(|_| panic!("TELEFLOW_SIM_FIRST={seed} fails")));
    }
    println!("{seen:?}");
    if env::var("TELEFLOW_SIM_SEEDS").is_err() {
        assert!(seen.is_rich(), "{seen:?}");
    }
}

#[test]
fn no_trace_is_split_by_shards_or_by_rules_that_change() {
    let first = number("TELEFLOW_SIM_FIRST", 0);
    let mut seen = shards::Seen::default();
    for seed in first..first + number("TELEFLOW_SIM_SEEDS", 200) {
        let lived = catch_unwind(AssertUnwindSafe(|| shards::live(seed)));
        seen.add(lived.unwrap_or_else(|_| panic!("TELEFLOW_SIM_FIRST={seed} fails")));
    }
    println!("{seen:?}");
    if env::var("TELEFLOW_SIM_SEEDS").is_err() {
        assert!(seen.is_rich(), "{seen:?}");
    }
}
