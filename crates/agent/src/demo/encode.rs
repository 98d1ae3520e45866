//! The demo's telemetry as OTLP.

use fastrand::Rng;
use teleflow::otlp::{Scalar, Writer};
use teleflow::{Payload, Signal};

use super::world::{SERVICES, Span, Value};

/// Spans of one service as a request.
pub(crate) fn spans(service: usize, spans: &[&Span]) -> Payload {
    request(Signal::Traces, service, spans.len(), |scope| {
        for span in spans {
            scope.message(2, |out| write_span(out, span));
        }
    })
}

fn write_span(out: &mut Writer<'_>, span: &Span) {
    out.bytes(1, &span.trace_id);
    out.bytes(2, &span.span_id);
    if let Some(parent) = &span.parent {
        out.bytes(4, parent);
    }
    out.str(5, span.name);
    out.uint(6, span.kind as u64);
    out.fixed64(7, span.start);
    out.fixed64(8, span.end);
    for (key, value) in &span.attributes {
        match value {
            Value::Str(text) => out.attribute(9, key, Scalar::Str(text)),
            Value::Int(number) => out.attribute(9, key, Scalar::Int(*number)),
        }
    }
    if let Some(message) = span.error {
        out.message(11, |event| {
            event.fixed64(1, span.end);
            event.str(2, "exception");
            event.attribute(3, "exception.type", "ShopError".into());
            event.attribute(3, "exception.message", message.into());
        });
        out.message(15, |status| {
            status.str(2, message);
            status.uint(3, 2);
        });
    }
    // W3C flags: sampled, and a random trace id.
    out.fixed32(16, 0x03);
}

/// A log record for each of these spans of one service.
pub(crate) fn logs(service: usize, spans: &[&Span]) -> Payload {
    request(Signal::Logs, service, spans.len(), |scope| {
        for span in spans {
            scope.message(2, |record| {
                record.fixed64(1, span.end);
                let (number, name) = if span.error.is_some() { (17, "ERROR") } else { (9, "INFO") };
                record.uint(2, number);
                record.str(3, name);
                record.message(5, |body| body.str(1, span.error.unwrap_or(span.name)));
                record.attribute(6, "code.function.name", span.name.into());
                record.fixed32(8, 1);
                record.bytes(9, &span.trace_id);
                record.bytes(10, &span.span_id);
                record.fixed64(11, span.end);
            });
        }
    })
}

/// Three metrics of one service at `now`: a sum, a gauge and a histogram, four data points in all.
pub(crate) fn metrics(service: usize, rng: &mut Rng, started: u64, now: u64) -> Payload {
    let seconds = now.saturating_sub(started) / 1_000_000_000;
    request(Signal::Metrics, service, 4, |scope| {
        scope.message(2, |metric| {
            metric.str(1, "process.cpu.time");
            metric.str(3, "s");
            metric.message(7, |sum| {
                for (mode, share) in [("user", 0.08), ("system", 0.02)] {
                    sum.message(1, |point| {
                        point.attribute(7, "cpu.mode", mode.into());
                        point.fixed64(2, started);
                        point.fixed64(3, now);
                        point.double(4, seconds as f64 * share);
                    });
                }
                sum.uint(2, 2);
                sum.uint(3, 1);
            });
        });
        scope.message(2, |metric| {
            metric.str(1, "http.server.active_requests");
            metric.str(3, "{request}");
            metric.message(5, |gauge| {
                gauge.message(1, |point| {
                    point.fixed64(3, now);
                    point.sfixed64(6, rng.i64(0..40));
                });
            });
        });
        scope.message(2, |metric| {
            metric.str(1, "http.server.request.duration");
            metric.str(3, "s");
            metric.message(9, |histogram| {
                histogram.message(1, |point| {
                    point.attribute(9, "http.request.method", "GET".into());
                    point.fixed64(2, started);
                    point.fixed64(3, now);
                    let counts = [rng.u64(..50), rng.u64(..20), rng.u64(..3)];
                    point.fixed64(4, counts.iter().sum());
                    point.double(5, counts[0] as f64 * 0.002 + counts[1] as f64 * 0.04);
                    for count in counts {
                        // Unpacked, as a sender may: each value as a field of its own.
                        point.sfixed64(6, count as i64);
                    }
                    point.double(7, 0.01);
                    point.double(7, 1.0);
                });
                histogram.uint(2, 2);
            });
        });
    })
}

fn request(
    signal: Signal,
    service: usize,
    items: usize,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Payload {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).message(1, |group| {
        group.message(1, |resource| {
            resource.attribute(1, "service.name", SERVICES[service].into());
            resource.attribute(1, "service.namespace", "shop".into());
            resource.attribute(1, "service.version", env!("CARGO_PKG_VERSION").into());
            resource.attribute(1, "deployment.environment.name", "demo".into());
            resource.attribute(1, "telemetry.sdk.language", "rust".into());
        });
        group.message(2, |scope| {
            scope.message(1, |name| name.str(1, "teleflow.demo"));
            fill(scope);
        });
    });
    Payload::trusted(signal, bytes.into(), items as u64)
}

#[cfg(test)]
mod tests {
    use teleflow::otlp::validate;

    use super::*;
    use crate::demo::world;

    #[test]
    fn what_is_written_is_valid_and_has_the_items_it_claims() {
        let mut rng = Rng::with_seed(1);
        let now = 1_750_000_000_000_000_000;
        for _ in 0..100 {
            let trace = world::trace(&mut rng, now);
            let all: Vec<_> = trace.iter().collect();
            for payload in [spans(0, &all), logs(1, &all), metrics(2, &mut rng, now - 5, now)] {
                let bytes = payload.to_bytes();
                assert_eq!(validate(payload.signal(), &bytes), Ok(payload.items()));
            }
        }
    }
}
