//! A group of policies, and the file that both programs read.

use std::time::Duration;

/// Where spans of a program's decisions tell that all the others have been made: a policy that keeps
/// everything and takes its time.
pub(crate) const CLOCK: &str = "clock";

/// How much longer the traces of the clock wait: so that whatever ticks once a second has ticked.
pub(crate) const CLOCK_WAITS_MORE: Duration = Duration::from_secs(3);

/// Policies that are compared in one run.
#[derive(Debug)]
pub(crate) struct Group {
    names: Vec<String>,
    config: String,
}

/// What the Collector is told besides: its own metrics would open a port.
pub(crate) const COLLECTOR_ONLY: &str = "
service:
  telemetry:
    metrics: { level: none }
";

// === impl Group ===

impl Group {
    /// Reads the names of the processors, each on a line of its own: `  tail_sampling/NAME:`.
    pub(crate) fn new(policies: &str) -> Self {
        let name = |line: &str| {
            let name = line.strip_prefix("  tail_sampling/")?.strip_suffix(':')?;
            Some(name.to_owned())
        };
        let names: Vec<String> = policies.lines().filter_map(name).collect();
        assert!(!names.is_empty(), "there is no policy");
        let all = || names.iter().map(String::as_str).chain([CLOCK]);
        let exporters = all().map(|name| {
            format!(
                "  otlphttp/{name}:
    endpoint: '${{env:SINK}}/{name}'
    compression: none
    sending_queue: {{ block_on_overflow: true }}
"
            )
        });
        let pipelines = all().map(|name| {
            format!(
                "    traces/{name}:
      receivers: [otlp]
      processors: [tail_sampling/{name}, batch]
      exporters: [otlphttp/{name}]
"
            )
        });
        let config = format!(
            "receivers:
  otlp:
    protocols:
      http: {{ endpoint: '${{env:RECEIVE}}' }}
{policies}
  tail_sampling/{CLOCK}:
    decision_wait: '${{env:CLOCK}}'
    policies: [{{ name: all, type: always_sample }}]
  batch: {{ timeout: 100ms }}
exporters:
{}service:
  telemetry: {{ logs: {{ level: warn }} }}
  pipelines:
{}",
            exporters.collect::<String>(),
            pipelines.collect::<String>()
        );
        Self { names, config }
    }

    /// The policies, without the clock.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The file, with addresses and times as variables.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }
}
