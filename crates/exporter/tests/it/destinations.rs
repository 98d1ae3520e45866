//! Several destinations: all of them, or the next when one is away.

use std::time::Duration;

use teleflow_exporter::{
    AnyExporter, Delivered, ExportError, Exporter, Failover, FanOut, Left, Retry, RetryConfig,
    Tally, Undelivered,
};
use teleflow_otlp::{Code, Payload, Status};
use teleflow_testkit::sink::{Cue, Sink};

use crate::script::{Scripted, Step, spans};

fn transient() -> Step {
    Step::Fail(ExportError::Transient("not now".into()))
}

fn refused() -> Step {
    Step::Fail(ExportError::Status(Status::new(Code::InvalidArgument, "")))
}

fn all(scripts: &[Scripted]) -> Vec<AnyExporter> {
    scripts.iter().cloned().map(AnyExporter::new).collect()
}

#[tokio::test]
async fn each_destination_gets_everything() {
    let sinks = [Sink::new(), Sink::new(), Sink::new()];
    let fan_out = FanOut::new(sinks.clone().map(AnyExporter::new));
    let payload = spans(3, "a");
    assert_eq!(fan_out.export(payload.clone()).await.unwrap(), Delivered::ALL);
    for sink in &sinks {
        assert_eq!(sink.taken()[0].to_bytes(), payload.to_bytes());
    }
    fan_out.shutdown().await.unwrap();
    assert!(FanOut::new([]).export(payload).await.is_ok());
}

#[tokio::test]
async fn the_worst_answer_wins() {
    // From the best to the worst.
    let steps: [fn() -> Step; 5] =
        [|| Step::Deliver, || Step::Reject(1), || Step::Reject(2), transient, refused];
    for better in 0..steps.len() {
        for worse in better..steps.len() {
            for turn in [[better, worse], [worse, better]] {
                let scripts = turn.map(|index| Scripted::new([steps[index]()]));
                let answer = FanOut::new(all(&scripts)).export(spans(3, "a")).await;
                let expected = Scripted::new([steps[worse]()]).export(spans(3, "a")).await;
                let kind = |answer: &Result<Delivered, ExportError>| match answer {
                    Ok(delivered) => format!("{delivered:?}"),
                    Err(error) => error.kind().to_owned(),
                };
                assert_eq!(kind(&answer), kind(&expected));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_destination_has_taken_is_not_sent_again_for_another() {
    let scripts = [Scripted::new([Step::Reject(1)]), Scripted::new((0..100).map(|_| transient()))];
    let retry = Retry::new(FanOut::new(all(&scripts)), RetryConfig::default()).unwrap();
    let error = retry.export(spans(3, "a")).await.unwrap_err();
    assert!(matches!(error, ExportError::Diverged(_)), "{error:?}");
    assert_eq!((error.kind(), error.is_retryable()), ("transient", false));
    assert_eq!(scripts.each_ref().map(|script| script.requests().len()), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_one_destination_is_not_sent_to_the_others() {
    let other = Scripted::new([transient()]);
    let both = [AnyExporter::new(AllButTwo), AnyExporter::new(other.clone())];
    let retry = Retry::new(FanOut::new(both), RetryConfig::default()).unwrap();
    let result = retry.export(spans(5, "a")).await;
    assert_eq!(other.requests().len(), 1);
    assert_eq!(Tally::of(5, result.as_ref()).dropped, [("transient", 5)]);

    let both = [AnyExporter::new(AllButTwo), AnyExporter::new(Scripted::new([]))];
    let result = FanOut::new(both).export(spans(5, "a")).await;
    let expected = Tally { delivered: 3, rejected: 0, dropped: vec![("transient", 2)] };
    assert_eq!(Tally::of(5, result.as_ref()), expected);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_taken_is_sent_again_to_all() {
    let scripts = [Scripted::new([transient()]), Scripted::new([transient()])];
    let retry = Retry::new(FanOut::new(all(&scripts)), RetryConfig::default()).unwrap();
    retry.export(spans(3, "a")).await.unwrap();
    assert_eq!(scripts.each_ref().map(|script| script.requests().len()), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn with_retry_inside_each_destination_is_tried_until_it_has_it() {
    let scripts = [Scripted::new([]), Scripted::new([transient(), transient()])];
    let retrying = |script: &Scripted| {
        AnyExporter::new(Retry::new(script.clone(), RetryConfig::default()).unwrap())
    };
    let fan_out = FanOut::new(scripts.iter().map(retrying));
    fan_out.export(spans(3, "a")).await.unwrap();
    assert_eq!(scripts.each_ref().map(|script| script.requests().len()), [1, 3]);
}

const MINUTE: Duration = Duration::from_secs(60);
/// Times are kept in whole milliseconds, rounded up.
const OVER_A_MINUTE: Duration = Duration::from_millis(60_001);

#[tokio::test(start_paused = true)]
async fn the_second_takes_over_and_the_first_is_back_after_a_time() {
    let (first, second) = (Sink::new(), Sink::new());
    let both = [first.clone(), second.clone()].map(AnyExporter::new);
    let failover = Failover::new(both, MINUTE).unwrap();
    let counts = || (first.taken().len(), second.taken().len());

    failover.export(spans(1, "a")).await.unwrap();
    assert_eq!(counts(), (1, 0));
    first.cue([Cue::Transient, Cue::Transient]);
    // The payload that meets the failure goes on, and the next ones do not try.
    for _ in 0..3 {
        failover.export(spans(1, "a")).await.unwrap();
    }
    assert_eq!((counts(), failover.exports()), ((1, 3), vec![2, 3]));
    // After the time one tries, in vain; and after another, it is back for all.
    tokio::time::advance(OVER_A_MINUTE).await;
    failover.export(spans(1, "a")).await.unwrap();
    failover.export(spans(1, "a")).await.unwrap();
    assert_eq!((counts(), failover.exports()), ((1, 5), vec![3, 5]));
    tokio::time::advance(OVER_A_MINUTE).await;
    for _ in 0..3 {
        failover.export(spans(1, "a")).await.unwrap();
    }
    assert_eq!(counts(), (4, 5));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_payload_is_no_reason_to_go_elsewhere() {
    let scripts = [Scripted::new([refused(), Step::Reject(1)]), Scripted::new([])];
    let failover = Failover::new(all(&scripts), MINUTE).unwrap();
    assert!(failover.export(spans(3, "a")).await.unwrap_err().is_refusal());
    assert_eq!(failover.export(spans(3, "a")).await.unwrap().rejected, 1);
    assert_eq!(failover.exports(), [2, 0]);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_away_the_answer_may_be_tried_again() {
    let scripts = [Scripted::new([transient()]), Scripted::new([transient()])];
    let failover = Failover::new(all(&scripts), MINUTE).unwrap();
    let retry = Retry::new(failover, RetryConfig::default()).unwrap();
    retry.export(spans(3, "a")).await.unwrap();
    // The second attempt comes when the first destination may be tried again.
    let seconds = scripts[0].seconds();
    assert!(seconds.len() == 2 && seconds[1] >= 60.0, "{seconds:?}");
    assert_eq!(scripts[1].requests().len(), 1);
    assert!(Failover::new([], MINUTE).is_err());
}

/// Delivers what it gets but for two items.
#[derive(Debug)]
struct AllButTwo;

impl Exporter for AllButTwo {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        Err(ExportError::Undelivered(Box::new(Undelivered {
            delivered: payload.items() - 2,
            left: vec![Left {
                payload: spans(2, "left"),
                error: ExportError::Transient("not now".into()),
            }],
            ..Undelivered::default()
        })))
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_what_was_delivered_in_part_goes_elsewhere() {
    let second = Sink::new();
    let both = [AnyExporter::new(AllButTwo), AnyExporter::new(second.clone())];
    let failover = Failover::new(both, MINUTE).unwrap();
    let result = failover.export(spans(5, "a")).await;
    assert_eq!(Tally::of(5, result.as_ref()), Tally { delivered: 5, ..Tally::default() });
    assert_eq!(second.taken()[0].to_bytes(), spans(2, "left").to_bytes());
}
