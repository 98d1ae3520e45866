//! tokio's paused clock, beside real sockets.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::sleep;

/// How far the clock goes while bytes are on their way through a socket: it moves whenever nobody has
/// anything to do, and does not see what the operating system has. So this is the time that a packet
/// takes here.
const STEP: Duration = Duration::from_millis(5);

/// Runs `life` to its end in time that passes as fast as it can, and never by more than a step.
pub(crate) fn run<T>(seed: u64, life: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let ticking = tokio::spawn(async {
            loop {
                sleep(STEP).await;
            }
        });
        let lived = life.await;
        ticking.abort();
        lived
    })
}

/// Lets time go on, which nobody waits for: it is paused.
pub(crate) async fn pass(time: Duration) {
    sleep(time).await;
}
