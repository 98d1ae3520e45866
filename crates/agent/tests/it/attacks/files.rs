//! RUSTSEC-2024-0376: no file descriptors left. Who is connected is served, and when there are some
//! again, so is who waited.

use std::process::Command;

use teleflow::Signal;
use tokio::net::TcpStream;

use super::{Bystander, CONFIG};
use crate::admin::{get, send};
use crate::books::Books;
use crate::program::Program;

/// As many as the program may have open; those of the runtime and of the store are among them.
const FILES: usize = 100;

#[tokio::test]
async fn without_file_descriptors_it_serves_whom_it_has_and_recovers() {
    let mut command = Command::new("sh");
    let limited = format!("ulimit -n {FILES} && exec \"$0\" \"$@\"");
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_teleflow")]).env_remove("RUST_LOG");
    let program = Program::start_by(command, CONFIG, &[]);
    let mut bystander = Bystander::of(&program).await;
    bystander.is_served().await;

    for round in 0..3 {
        // More than there can be: the rest waits in the listeners' queues.
        let mut idle = Vec::new();
        for number in 0..2 * FILES {
            let address = if number % 2 == 0 { program.grpc() } else { program.http() };
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        if round == 0 {
            program.says("cannot accept connections");
        }
        // A scrape has to wait as well.
        let waits = tokio::spawn({
            let admin = program.admin();
            async move {
                let mut request = crate::malformed::client::post("/health", &[], "");
                *request.method_mut() = http::Method::GET;
                let mut client = crate::malformed::client::Client::http1(admin).await;
                client.send(request).await.unwrap().status
            }
        });
        for _ in 0..20 {
            bystander.is_served().await;
        }
        drop(idle);
        // Both loops are alive: these are new connections.
        send(&program, Signal::Traces, round).await;
        Bystander::of(&program).await.is_served().await;
        assert_eq!(waits.await.unwrap(), 200);
        assert_eq!(get(&program, "/health").await.status, 200);
    }

    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let lines = ended.stderr.matches("cannot accept connections").count();
    assert!(lines < 20, "{lines} lines of one kind");
    let books = Books::parse(&ended.stdout);
    for signal in Signal::ALL {
        let row = books.of(signal.name());
        assert_eq!((row.delivered, row.held), (row.accepted, 0), "{row:?}");
    }
}
