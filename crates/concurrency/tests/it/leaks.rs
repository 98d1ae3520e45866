//! C10: the task-leak monitor.

use std::future::pending;
use std::time::{Duration, Instant};

use teleflow_concurrency::TaskMonitor;
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn c10_it_looks_every_minute_and_tells_of_more_than_a_hundred() {
    let (monitor, start) = (TaskMonitor::default(), Instant::now());
    let mut leaked: Vec<_> = (0..500).map(|_| monitor.track("from before")).collect();
    assert_eq!(monitor.look(start), None, "there is nothing to compare with");
    leaked.extend((0..100).map(|_| monitor.track("hundred")));
    assert_eq!(monitor.look(start + MINUTE), None, "a hundred may be");

    leaked.extend((0..101).map(|_| monitor.track("leak")));
    let line = line!() - 1;
    assert_eq!(monitor.look(start + 2 * MINUTE - Duration::from_nanos(1)), None, "not due");
    let growth = monitor.look(start + 2 * MINUTE).unwrap();
    assert_eq!((growth.before, growth.now, growth.within), (600, 701, MINUTE));
    let [site] = &growth.sites[..] else { panic!("only one place grew: {growth:?}") };
    assert_eq!((site.name, site.live, site.grown), ("leak", 101, 101));
    assert_eq!((site.site.file(), site.site.line()), (file!(), line));
    let said = growth.to_string();
    assert!(said.contains(&format!("leak at {}:{line}", file!())), "{said}");

    // What is gone does not count, and what stays is told once.
    leaked.drain(..300);
    assert_eq!(monitor.look(start + 3 * MINUTE), None);
    let stats = monitor.stats();
    assert_eq!((stats.started, stats.looks, stats.warnings), (701, 4, 1));
    assert_eq!(stats.live["from before"], 200);
    drop(leaked);
    assert_eq!(monitor.stats().live.values().sum::<u64>(), 0);
}

#[test]
fn c10_those_that_grew_most_are_named_first() {
    let (monitor, start) = (TaskMonitor::new(MINUTE, 5), Instant::now());
    assert_eq!(monitor.look(start), None);
    let few: Vec<_> = (0..3).map(|_| monitor.track("few")).collect();
    let many: Vec<_> = (0..30).map(|_| monitor.track("many")).collect();
    let growth = monitor.look(start + MINUTE).unwrap();
    let names: Vec<_> = growth.sites.iter().map(|site| (site.name, site.grown)).collect();
    assert_eq!(names, [("many", 30), ("few", 3)]);
    drop((few, many));
}

#[tokio::test(start_paused = true)]
async fn c10_tasks_count_until_they_end_panic_or_are_dropped() {
    let monitor = TaskMonitor::new(MINUTE, 0);
    let live = || monitor.stats().live.get("task").copied().unwrap_or_default();
    let ends = tokio::spawn(monitor.watch("task", async {}));
    let panics = tokio::spawn(monitor.watch("task", async { panic!("on purpose") }));
    let stays = tokio::spawn(monitor.watch("task", pending::<()>()));
    let never_polled = monitor.watch("task", pending::<()>());
    assert_eq!(live(), 4, "from the call on");
    ends.await.unwrap();
    assert!(panics.await.unwrap_err().is_panic());
    drop(never_polled);
    assert_eq!(live(), 1);
    stays.abort();
    assert!(stays.await.unwrap_err().is_cancelled());
    assert_eq!(live(), 0);
}

#[tokio::test(start_paused = true)]
async fn c10_the_loop_tells_each_growth_once_and_ends_when_told() {
    let (monitor, stop) = (TaskMonitor::new(MINUTE, 1), CancellationToken::new());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let looking = tokio::spawn({
        let (monitor, stop) = (monitor.clone(), stop.clone());
        async move { monitor.run(stop, |growth| tell.send(growth.now).unwrap()).await }
    });
    tokio::time::advance(Duration::from_millis(1)).await;
    tokio::task::yield_now().await;
    let leaked: Vec<_> = (0..2).map(|_| monitor.track("leak")).collect();
    assert_eq!(told.recv().await, Some(2));
    let more: Vec<_> = (0..2).map(|_| monitor.track("leak")).collect();
    assert_eq!(told.recv().await, Some(4));
    stop.cancel();
    looking.await.unwrap();
    assert_eq!(told.recv().await, None);
    drop((leaked, more));
}
