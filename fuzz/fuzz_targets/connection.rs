//! Any bytes on a connection, as HTTP/1.1 or HTTP/2: it comes to its end, and leaves nothing behind.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use teleflow_fuzz::{PATIENCE, Served};
use teleflow_otlp::validate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::yield_now;
use tokio::time::timeout;

thread_local! {
    static SERVED: RefCell<Served> = RefCell::new(Served::start(|_| {}));
}

// Each piece is written by itself; they are parted by a byte that neither protocol begins with.
fuzz_target!(|input: &[u8]| {
    SERVED.with_borrow_mut(|served| {
        served.runtime.block_on(async {
            // bounded wait: that a connection never ends is a finding
            timeout(PATIENCE, talk(served, input)).await.expect("it does not end");
        });
        for payload in served.taken() {
            assert_eq!(validate(payload.signal(), &payload.to_bytes()), Ok(payload.items()));
        }
        served.check_idle();
    });
});

async fn talk(served: &Served, input: &[u8]) {
    let stream = UnixStream::connect(&served.path).await.expect("somebody listens");
    let (mut reading, mut writing) = stream.into_split();
    let write = async {
        for piece in input.split(|&byte| byte == 0xfe) {
            // It may be closed before all is said.
            if writing.write_all(piece).await.is_err() {
                break;
            }
            yield_now().await;
        }
        let _ = writing.shutdown().await;
    };
    let read = async {
        let mut buffer = [0; 4096];
        while reading.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    tokio::join!(write, read);
    while served.stats.snapshot().connections_open > 0 {
        yield_now().await;
    }
}
