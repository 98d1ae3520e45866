//! The rules of OTLP, as checks of any receiver and any exporter.
//!
//! [`rules::RULES`] numbers what the specification asks. [`Receiver`] plays the client,
//! [`exporter`] the server; each looks at the wire alone, so that any peer can be checked:
//!
//! ```
//! # async fn doc() {
//! use teleflow_conformance::{Receiver, Report, rule::Level};
//!
//! let receiver = Receiver::new("127.0.0.1:4317".parse().ok(), "127.0.0.1:4318".parse().ok());
//! let report = Report { outcomes: receiver.check("", |_| {}).await };
//! println!("{} checks failed that must not", report.failed(Level::Must));
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod exporter;
mod process;
mod receiver;
mod report;
pub mod rule;
pub mod rules;
pub mod server;
mod signal;
mod started;
pub mod status;
mod telemetry;
pub mod wire;

pub use self::process::{Kind, Process};
pub use self::receiver::Receiver;
pub use self::report::{Report, Standing};
pub use self::signal::{Partial, Signal};
pub use self::started::Started;
