//! What becomes of payloads where a lane ends too early.

use std::time::Duration;

use bytes::Bytes;
use teleflow_batcher::Batcher;
use teleflow_otlp::Signal;
use teleflow_otlp::{Ack, Answer};
use teleflow_sampler::{Config, Policy, Rule, TailSampler};
use teleflow_testkit::telemetry::Telemetry;
use tokio::sync::Semaphore;

use super::*;

fn lane(batcher: Option<Batcher>) -> Lane {
    let destinations = ["out".to_owned()];
    Lane {
        part: Part::Whole,
        follower: None,
        stages: Arc::new(Stages::new(State { batcher, batchers: vec![None], ..State::default() })),
        ledger: Ledger::new("lane", Signal::Traces, &destinations),
        outlets: Vec::new(),
        is_full: None,
        stop_intake: CancellationToken::new(),
        is_waited_for: false,
        give_up: CancellationToken::new(),
        has_failed: Arc::default(),
    }
}

fn payload() -> Payload {
    let request = Bytes::from(Telemetry::new(1).request(Signal::Traces, 4));
    Payload::parse(Signal::Traces, request).unwrap()
}

async fn taken(payload: &Payload) -> Taken {
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    (Digest::unread(payload.clone()), permit)
}

#[tokio::test]
async fn what_is_let_in_while_the_lane_gives_up_is_entered_too() {
    let (lane, payload) = (lane(None), payload());
    let ledger = lane.ledger.clone();
    let (sender, intake) = mpsc::channel(2);
    let place = sender.reserve().await.unwrap();
    lane.give_up.cancel();
    let running = tokio::spawn(lane.run(intake));
    // The lane closes its intake and waits for the place that is reserved.
    sender.closed().await;
    assert!(!running.is_finished());
    ledger.accept(payload.items());
    place.send(taken(&payload).await);
    running.await.unwrap();
    let [account] = &ledger.accounts()[..] else { panic!("there is one destination") };
    assert_eq!((account.accepted, account.held), (payload.items(), 0));
    assert_eq!(account.dropped[SHUTDOWN], payload.items());
    assert!(account.balances());
}

#[tokio::test]
async fn a_panic_is_seen_and_what_was_held_is_entered() {
    // A batcher for another signal panics at the first payload.
    let batcher = Batcher::new(Signal::Logs, teleflow_batcher::Config::default()).unwrap();
    let (lane, payload) = (lane(Some(batcher)), payload());
    let (ledger, has_failed) = (lane.ledger.clone(), Arc::clone(&lane.has_failed));
    let (sender, intake) = mpsc::channel(2);
    ledger.accept(payload.items());
    sender.send(taken(&payload).await).await.unwrap();
    lane.run(intake).await;
    assert!(has_failed.load(Ordering::Acquire));
    assert!(sender.is_closed(), "nothing more is taken");
    let [account] = &ledger.accounts()[..] else { panic!("there is one destination") };
    assert_eq!((account.held, account.dropped[FAILED]), (0, payload.items()));
    assert!(account.balances());
}

/// Four shards that keep everything once they have waited a second.
fn shards() -> Vec<Arc<Stages>> {
    let config = Config {
        rules: vec![Rule::new("all", Policy::Always)].into(),
        decision_wait: Duration::from_secs(1),
        ..Config::default()
    };
    let shard = |_| {
        let sampler = Some(TailSampler::new(config.clone()).unwrap());
        Arc::new(Stages::new(State { sampler, ..State::default() }))
    };
    (0..4).map(shard).collect()
}

#[track_caller]
fn all_failed(ledger: &Ledger, items: u64) {
    let [account] = &ledger.accounts()[..] else { panic!("there is one destination") };
    assert!(account.balances(), "{account:?}");
    assert_eq!((account.accepted, account.held), (items, 0), "{account:?}");
    assert_eq!(account.dropped[FAILED], items, "{account:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_shard_ends_all_and_what_they_held_is_entered() {
    let (lane, payload, stages) = (lane(None), payload(), shards());
    let (ledger, has_failed) = (lane.ledger.clone(), Arc::clone(&lane.has_failed));
    let mut tasks = JoinSet::new();
    let senders = lane.spawn(&stages, &mut tasks);
    for sender in &senders {
        ledger.accept(payload.items());
        sender.send(taken(&payload).await).await.unwrap();
    }
    // One place is reserved in a shard that does not fail itself.
    let place = senders[0].reserve().await.unwrap();
    // Somebody waits for fewer items than there are: that does not fit what is kept in the end.
    let (tell, told) = std::sync::mpsc::channel();
    let ack = Ack::new(1, move |answer| tell.send(answer).unwrap());
    let request = payload.segments()[0].clone();
    let mistaken = Payload::trusted(Signal::Traces, request, 1).with_ack(ack);
    ledger.accept(1);
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    senders[2].send((Digest::unread(mistaken), permit)).await.unwrap();

    for sender in &senders {
        sender.closed().await;
    }
    assert!(has_failed.load(Ordering::Acquire), "nothing more is taken");
    // What was let in before is entered too, and only then does the lane end.
    ledger.accept(payload.items());
    place.send(taken(&payload).await);
    while tasks.join_next().await.is_some() {}
    all_failed(&ledger, 5 * payload.items() + 1);
    assert_eq!(told.recv(), Ok(Answer::dropped(1)));
    assert!(stages.iter().all(|stages| stages.lock().sampler.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_panic_behind_the_shards_ends_them_too() {
    // A batcher for another signal panics at the first payload.
    let batcher = Batcher::new(Signal::Logs, teleflow_batcher::Config::default()).unwrap();
    let (lane, payload, stages) = (lane(Some(batcher)), payload(), shards());
    let (ledger, has_failed) = (lane.ledger.clone(), Arc::clone(&lane.has_failed));
    let mut tasks = JoinSet::new();
    let senders = lane.spawn(&stages, &mut tasks);
    for sender in &senders {
        ledger.accept(payload.items());
        sender.send(taken(&payload).await).await.unwrap();
    }
    while tasks.join_next().await.is_some() {}
    assert!(has_failed.load(Ordering::Acquire));
    assert!(senders.iter().all(mpsc::Sender::is_closed), "nothing more is taken");
    all_failed(&ledger, 4 * payload.items());
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_lane_that_follows_too() {
    let (mut lane, payload, stages) = (lane(None), payload(), shards());
    let records = Ledger::new("records", Signal::Logs, &["out".to_owned()]);
    let (rest, handed) = Handover::channel();
    lane.follower = Some(Follower { ledger: records.clone(), rest });
    stages.iter().for_each(|stages| stages.lock().is_followed = true);
    // A batcher for another signal panics at the first payload.
    let batcher = Batcher::new(Signal::Metrics, teleflow_batcher::Config::default()).unwrap();
    let state = State { batcher: Some(batcher), batchers: vec![None], ..State::default() };
    let behind = Lane {
        part: Part::Whole,
        follower: None,
        stages: Arc::new(Stages::new(state)),
        ledger: records.clone(),
        outlets: Vec::new(),
        is_full: None,
        stop_intake: lane.stop_intake.clone(),
        is_waited_for: false,
        give_up: lane.give_up.clone(),
        has_failed: Arc::clone(&lane.has_failed),
    };
    let (ledger, has_failed) = (lane.ledger.clone(), Arc::clone(&lane.has_failed));
    let mut tasks = JoinSet::new();
    let senders = lane.spawn(&stages, &mut tasks);
    behind.spawn_behind(handed, &mut tasks);
    let request = Bytes::from(Telemetry::new(1).request(Signal::Logs, 4));
    let logs = Payload::parse(Signal::Logs, request).unwrap();
    for sender in &senders {
        ledger.accept(payload.items());
        sender.send(taken(&payload).await).await.unwrap();
        records.accept(logs.items());
        sender.send(taken(&logs).await).await.unwrap();
    }
    while tasks.join_next().await.is_some() {}
    assert!(has_failed.load(Ordering::Acquire));
    assert!(senders.iter().all(mpsc::Sender::is_closed), "nothing more is taken");
    all_failed(&ledger, 4 * payload.items());
    all_failed(&records, 4 * logs.items());
}
