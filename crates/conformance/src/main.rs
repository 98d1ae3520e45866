//! x
use teleflow_conformance::*;
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut r = Receiver::new(a[1].parse().ok(), a[2].parse().ok());
    if let Some(m) = a.get(3) { r.max_request_bytes = m.parse().unwrap(); }
    let o = r.check(|o| if let rule::Verdict::NotApplicable(w) = &o.verdict { println!("{} {w}", o.name) }).await;
    println!("{}", Report { outcomes: o }.table(&[rule::Side::Receiver, rule::Side::Both]));
}
