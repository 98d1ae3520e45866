//! Ctrl-C and SIGTERM: the first asks to stop, the second stops.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that the first signal cancels. The second ends the process with status 1.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first.is_cancelled() {
                complain!("teleflow: stopped at once; what was held is lost");
                std::process::exit(1);
            }
            first.cancel();
        }
    });
    Ok(stop)
}
