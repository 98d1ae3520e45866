//! Frames without end: the memory stays flat, and others are served meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use teleflow::Signal;
use teleflow_testkit::raw::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, RST_STREAM, Raw, SETTINGS, call_head, frame,
    literal,
};

use super::{Bystander, CONFIG, MIB, Usage};
use crate::admin::get;
use crate::program::Program;

/// What all floods together may cost: some connections at a time, and what the allocator keeps.
const ALLOWED: u64 = 8 * MIB;

/// Makes the pieces of a flood; the first is number 0 on every connection.
type Piece = fn(usize) -> Vec<u8>;

fn stream_id(number: usize) -> u32 {
    2 * number as u32 + 1
}

fn open(number: usize) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream_id(number), &call_head(Signal::Traces.grpc_path()))
}

/// Sends `times` pieces, over as many connections as it takes. Returns how many that were.
async fn flood(address: SocketAddr, times: usize, piece: Piece, sent: &AtomicUsize) -> usize {
    let mut connections = 0;
    while sent.load(SeqCst) < times {
        connections += 1;
        let mut attacker = Raw::connect(address).await;
        let mut number = 0;
        while sent.load(SeqCst) < times {
            let mut batch = Vec::new();
            let first = number;
            while batch.len() < 16_000 {
                batch.extend_from_slice(&piece(number));
                number += 1;
            }
            if attacker.send(&batch).await.is_err() {
                break;
            }
            sent.fetch_add(number - first, SeqCst);
        }
    }
    connections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_cost_no_memory_and_others_are_served_meanwhile() {
    let program = Program::start(CONFIG, &[]);
    let mut bystander = Bystander::of(&program).await;
    for _ in 0..20 {
        bystander.is_served().await;
    }
    let before = Usage::of(&program);
    let floods: [(&str, usize, Piece); 6] = [
        ("rapid reset", 100_000, |number| {
            let reset = frame(RST_STREAM, 0, stream_id(number), &8_u32.to_be_bytes());
            [open(number), reset].concat()
        }),
        ("continuation", 20_000, |number| {
            if number == 0 {
                return frame(HEADERS, 0, 1, &call_head(Signal::Traces.grpc_path()));
            }
            let mut head = Vec::new();
            (0..10).for_each(|_| literal(&mut head, "baggage", &"b".repeat(100)));
            frame(CONTINUATION, 0, 1, &head)
        }),
        ("empty continuation", 1_000_000, |number| match number {
            0 => frame(HEADERS, 0, 1, &call_head(Signal::Traces.grpc_path())),
            _ => frame(CONTINUATION, 0, 1, &[]),
        }),
        ("empty data", 1_000_000, |number| match number {
            0 => open(0),
            _ => frame(DATA, 0, 1, &[]),
        }),
        ("streams", 100_000, open),
        ("pings and settings", 1_000_000, |number| match number % 2 {
            0 => frame(PING, 0, 0, &[7; 8]),
            _ => frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        }),
    ];
    for (name, times, piece) in floods {
        let address = program.grpc();
        let sent = std::sync::Arc::new(AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&sent);
        let attack = tokio::spawn(async move { flood(address, times, piece, &counter).await });
        // Every other one is begun and answered between two pieces of the flood.
        let mut served = 0;
        while !attack.is_finished() {
            bystander.is_served().await;
            served += usize::from(!attack.is_finished());
        }
        let connections = attack.await.unwrap();
        println!("{name}: {connections} connections, {served} requests served meanwhile");
        assert!(served > 0, "{name}: nobody is served");
        assert!(connections > 1, "{name}: all of it is taken on one connection");
    }
    Usage::grew_by_no_more_than(ALLOWED, before, &program);
    assert_eq!(get(&program, "/health").await.status, 200, "the same process as before");
    assert!(program.terminate().status.success());
}

/// Ten thousand requests that are begun and not ended, as many as there may be on each connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_streams_that_stay_open_cost_little_and_leave_room_for_others() {
    const CONNECTIONS: usize = 50;
    const STREAMS: usize = 200;
    let program = Program::start(CONFIG, &[]);
    let mut bystander = Bystander::of(&program).await;
    bystander.is_served().await;
    let before = Usage::of(&program);
    let mut attackers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut attacker = Raw::connect(program.grpc()).await;
        let streams: Vec<u8> = (0..STREAMS).flat_map(open).collect();
        attacker.send(&streams).await.unwrap();
        attackers.push(attacker);
        bystander.is_served().await;
    }
    // Each says that it is there: nobody was cut off.
    for attacker in &mut attackers {
        attacker.send(&frame(PING, 0, 0, &[1; 8])).await.unwrap();
    }
    for _ in 0..10 {
        bystander.is_served().await;
    }
    // Eight kilobytes for a request that has only a head.
    Usage::grew_by_no_more_than(8192 * (CONNECTIONS * STREAMS) as u64, before, &program);
    drop(attackers);
    bystander.is_served().await;
    assert!(program.terminate().status.success());
}
