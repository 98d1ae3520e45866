//! The door of a lane of several shards.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use futures_util::{FutureExt as _, poll};
use teleflow_otlp::Signal;
use teleflow_testkit::telemetry::Telemetry;
use tokio::sync::mpsc;

use super::entrance::MAX_BYTES;
use super::*;
use crate::books::{Account, Ledger};
use crate::lane::Taken;

/// A door to four shards that have room for so many payloads each.
fn door(places: usize) -> (Intake, Entrance, Vec<mpsc::Receiver<Taken>>) {
    let (senders, receivers): (Vec<_>, _) = (0..4).map(|_| mpsc::channel(places)).unzip();
    let ledger = Ledger::new("lane", Signal::Traces, &["out".to_owned()]);
    let entrance = Entrance::new(
        Door::new(senders, 1, true).unwrap(),
        ledger,
        Arc::new(AtomicBool::new(false)),
    );
    let mut lanes = [const { Vec::new() }; 3];
    lanes[Signal::Traces.index()].push(entrance.clone());
    (Intake { lanes: Arc::new(lanes), waits_for_result: false }, entrance, receivers)
}

/// A request of many traces: every shard has a part of it.
fn payload() -> Payload {
    let mut telemetry = Telemetry::new(1);
    loop {
        let request = Bytes::from(telemetry.request(Signal::Traces, 60));
        let payload = Payload::parse(Signal::Traces, request).unwrap();
        if payload.items() > 50 {
            return payload;
        }
    }
}

#[track_caller]
fn account(entrance: &Entrance) -> Account {
    let [account] = &entrance.ledger.accounts()[..] else { panic!("there is one destination") };
    assert!(account.balances(), "{account:?}");
    account.clone()
}

#[tokio::test]
async fn a_payload_is_taken_by_all_its_shards_or_by_none() {
    let (intake, entrance, mut shards) = door(1);
    let items = payload().items();
    intake.hand_in(payload()).await.unwrap();
    assert_eq!(account(&entrance).accepted, items);
    // Room in three of four is not enough; who goes away meanwhile has left nothing.
    let mut parts = Vec::new();
    for shard in &mut shards[..3] {
        parts.push(shard.recv().await.unwrap());
    }
    let mut waiting = Box::pin(intake.hand_in(payload()));
    assert!(poll!(waiting.as_mut()).is_pending());
    assert_eq!(account(&entrance).accepted, items);
    drop(waiting);
    for shard in &mut shards[..3] {
        assert!(shard.try_recv().is_err(), "it has taken nothing");
    }
    let mut waiting = Box::pin(intake.hand_in(payload()));
    assert!(poll!(waiting.as_mut()).is_pending());
    parts.push(shards[3].recv().await.unwrap());
    waiting.await.unwrap();
    assert_eq!(account(&entrance).accepted, 2 * items);
    for shard in &mut shards {
        parts.push(shard.try_recv().unwrap());
    }
    assert_eq!(parts.iter().map(|(part, _)| part.items()).sum::<u64>(), 2 * items);
    let bytes: usize = parts.iter().map(|(part, _)| part.bytes()).sum();
    assert_eq!(entrance.bytes.available_permits(), MAX_BYTES - bytes, "each has its own room");
    drop(parts);
    assert_eq!(entrance.bytes.available_permits(), MAX_BYTES);
}

#[tokio::test]
async fn where_one_shard_has_ended_none_takes_anything() {
    let (intake, entrance, mut shards) = door(1);
    shards[2].close();
    assert!(intake.hand_in(payload()).await.is_err());
    assert_eq!((account(&entrance).accepted, account(&entrance).held), (0, 0));
    assert!(shards.iter_mut().all(|shard| shard.try_recv().is_err()));
    assert_eq!(entrance.bytes.available_permits(), MAX_BYTES);
}

#[tokio::test]
async fn who_finds_the_router_in_use_waits_for_nothing() {
    let (intake, entrance, mut shards) = door(1);
    let Door::Shards(inner) = &entrance.door else { panic!("there are shards") };
    let in_use = inner.routing.desk.lock().unwrap();
    assert!(intake.hand_in(payload()).now_or_never().unwrap().is_ok());
    drop(in_use);
    let by_one: Vec<_> =
        shards.iter_mut().map(|shard| shard.try_recv().unwrap().0.items()).collect();
    intake.hand_in(payload()).await.unwrap();
    let by_other: Vec<_> =
        shards.iter_mut().map(|shard| shard.try_recv().unwrap().0.items()).collect();
    assert_eq!(by_one, by_other, "the way is the same");
    assert_eq!(inner.routing.stats().parted, 2, "both are counted");
    assert_eq!(account(&entrance).accepted, 2 * payload().items());
}
