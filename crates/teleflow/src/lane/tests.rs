//! What becomes of payloads where a lane ends too early.

use bytes::Bytes;
use teleflow_batcher::Batcher;
use teleflow_otlp::Signal;
use teleflow_testkit::telemetry::Telemetry;
use tokio::sync::Semaphore;

use super::*;

fn lane(batcher: Option<Batcher>) -> Lane {
    let destinations = ["out".to_owned()];
    Lane {
        part: Part::Whole,
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
    (payload.clone(), permit)
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
