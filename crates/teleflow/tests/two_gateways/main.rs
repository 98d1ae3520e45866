//! Two tiers of gateways, the second overloaded or away: nothing that the first accepted is lost, and
//! when the second can work again it is not overrun.
//!
//! All parts are the ones that ship: the first tier's queue, retry, budget and adaptive concurrency,
//! gRPC over real sockets, the second's receiver with its budget of bytes and the waits that it
//! tells, and its pipeline, which answers when the backend has. Only the backend is made up: it works
//! on one request at a time, at a pace that is set. Time is tokio's, paused ([`clock`]): twenty
//! minutes take seconds.
//!
//! What is asserted of a recovery is the rate at which requests arrive at the second gateway, the
//! ones that it turns away included, in bytes and in every second that there is: not only in those
//! that begin with a tick of the clock. It stays within one and a half times what the second can do.
//!
//! `TELEFLOW_SIM_SEEDS` says how many seeds of each scene (1), `TELEFLOW_SIM_FIRST` which is first, and
//! `TELEFLOW_SIM_PART` by what the time that the trouble lasts is divided (20): with 1, an hour and a
//! half passes.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "what came of a scene is worth knowing")]

mod arrivals;
mod backend;
mod clock;
mod first;
mod scene;
mod second;
mod spans;

use std::time::Duration;

use crate::first::Manners;
use crate::scene::{Scene, Trouble};

/// In bytes a second.
const OFFERED: f64 = 40.0 * spans::REQUEST as f64;

/// More than is ever under way.
const ROOMY: usize = 1 << 20;

/// Half a second's work.
const TIGHT: usize = 25 * spans::REQUEST;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Lives through a scene, and looks at what came of it.
fn live(manners: Manners, scene: &Scene) {
    let first = number("TELEFLOW_SIM_FIRST", 0);
    for seed in first..first + number("TELEFLOW_SIM_SEEDS", 1) {
        let lived = scene.live(seed, manners);
        let which = format!("{scene:?}, {manners:?}, TELEFLOW_SIM_FIRST={seed}");
        println!("{which}: {lived}");
        lived.check(&which);
    }
}

/// How much of a scene's time it lasts: a twentieth, for it takes many requests to tell a stampede
/// from chance.
fn part(of: u64) -> Duration {
    Duration::from_secs(of / number("TELEFLOW_SIM_PART", 20))
}

/// For ten minutes the second does a quarter of what is offered; then half as much again as is.
fn overloaded(gateways: u64, room: usize) -> Scene {
    Scene {
        gateways,
        offered: OFFERED,
        capacity: 1.5 * OFFERED,
        room,
        trouble: Trouble::Slow(0.25 * OFFERED),
        lasts: part(600),
    }
}

/// For five minutes nobody listens there; then it can do a fifth more than is offered.
fn away(gateways: u64, room: usize) -> Scene {
    Scene {
        gateways,
        offered: OFFERED,
        capacity: 1.2 * OFFERED,
        room,
        trouble: Trouble::Away,
        lasts: part(300),
    }
}

// What the names say: the trouble, how many gateways, whether the second has room for all that they
// have under way, and how they behave.

#[test]
fn overloaded_one_roomy_adaptive() {
    live(Manners::Adaptive, &overloaded(1, ROOMY));
}

#[test]
fn overloaded_eight_tight_adaptive() {
    live(Manners::Adaptive, &overloaded(8, TIGHT));
}

#[test]
fn overloaded_eight_tight_plain() {
    live(Manners::Plain, &overloaded(8, TIGHT));
}

#[test]
fn away_one_roomy_budget() {
    live(Manners::Budget, &away(1, ROOMY));
}

#[test]
fn away_eight_tight_adaptive() {
    live(Manners::Adaptive, &away(8, TIGHT));
}

#[test]
fn away_eight_roomy_plain() {
    live(Manners::Plain, &away(8, ROOMY));
}
