//! C11: runtime presets.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use teleflow_concurrency::{RuntimePreset, ThreadNames};

#[test]
fn c11_the_presets_are_what_they_say() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let mib = 1024 * 1024;
    let of = |preset: &RuntimePreset| (preset.workers, preset.blocking, preset.stack_bytes);
    let all = [
        (RuntimePreset::production(), (cores, 512, 2 * mib)),
        (RuntimePreset::development(), (2, 10, 2 * mib)),
        (RuntimePreset::high_performance(), (2 * cores, 1000, 4 * mib)),
    ];
    for (preset, expected) in &all {
        assert_eq!(of(preset), *expected);
        assert_eq!(preset.keep_alive, Duration::from_secs(10));
    }
}

#[test]
fn c11_io_and_time_work_in_each_and_threads_have_their_names() {
    for preset in [
        RuntimePreset::production(),
        RuntimePreset::development(),
        RuntimePreset::high_performance(),
    ] {
        let runtime = preset.build().unwrap();
        assert_eq!(runtime.metrics().num_workers(), preset.workers);
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (to, from) =
                tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
            to.and(from).unwrap();
            tokio::time::timeout(Duration::ZERO, std::future::pending::<()>()).await.unwrap_err();
        });
    }
    let preset = RuntimePreset::development();
    let runtime = preset.build().unwrap();
    // Both have to be there at a time, so that they are on two threads.
    let both = Arc::new(Barrier::new(2));
    let name = |both: Arc<Barrier>| {
        both.wait();
        std::thread::current().name().unwrap().to_owned()
    };
    let names: BTreeSet<_> = runtime.block_on(async {
        let ask = || {
            tokio::task::spawn_blocking({
                let both = Arc::clone(&both);
                move || name(both)
            })
        };
        let (one, two) = tokio::join!(ask(), ask());
        [one.unwrap(), two.unwrap()].into()
    });
    assert_eq!(names.len(), 2, "numbered: {names:?}");
    assert!(names.iter().all(|name| name.starts_with("worker-")), "{names:?}");
}

#[test]
fn c11_what_is_unusual_is_named() {
    let fits = RuntimePreset { workers: 32, ..RuntimePreset::production() };
    assert_eq!(fits.check(), []);
    let unusual = RuntimePreset {
        workers: 33,
        blocking: 99,
        stack_bytes: 512 * 1024,
        keep_alive: Duration::from_secs(61),
        names: ThreadNames::Same("x".into()),
    };
    let said: Vec<_> = unusual.check().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "workers is 33; recommended: 2 to 32",
            "blocking is 99; recommended: 100 to 1000",
            "stack_bytes is 524288; recommended: 1 to 4 MiB",
            "keep_alive is 61s; recommended: 5 to 60 s",
        ]
    );
    let none = RuntimePreset { workers: 0, blocking: 0, ..RuntimePreset::production() };
    assert_eq!(none.build().unwrap().metrics().num_workers(), 1, "zero is taken for one");
}
