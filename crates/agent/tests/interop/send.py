"""Sends a fixed scene with the official SDK and prints what cannot be known beforehand: ids and times.

Arguments: PROTOCOL (grpc or http/protobuf) ENDPOINT COMPRESSION (none or gzip) SERVICE
Ends with a status other than 0 if anything was not taken.
"""

import json
import sys

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

protocol, endpoint, compression, service = sys.argv[1:]
failures = []


def exporters():
    if protocol == "grpc":
        import grpc
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        how = {"gzip": grpc.Compression.Gzip, "none": grpc.Compression.NoCompression}[compression]
        options = {"endpoint": endpoint, "insecure": True, "compression": how}
        return (
            OTLPSpanExporter(**options),
            OTLPMetricExporter(**options),
            OTLPLogExporter(**options),
        )
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    how = {"gzip": Compression.Gzip, "none": Compression.NoCompression}[compression]
    return (
        OTLPSpanExporter(endpoint=endpoint + "/v1/traces", compression=how),
        OTLPMetricExporter(endpoint=endpoint + "/v1/metrics", compression=how),
        OTLPLogExporter(endpoint=endpoint + "/v1/logs", compression=how),
    )


def watched(exporter):
    """The SDK logs a failed export and goes on: here it has to be seen."""
    export = exporter.export

    def watch(*args, **kwargs):
        result = export(*args, **kwargs)
        if result.name != "SUCCESS":
            failures.append(f"{type(exporter).__module__}: {result}")
        return result

    exporter.export = watch
    return exporter


spans, metrics, logs = map(watched, exporters())
resource = Resource.create({"service.name": service, "deployment.environment.name": "test"})

traces = TracerProvider(resource=resource)
traces.add_span_processor(SimpleSpanProcessor(spans))
tracer = traces.get_tracer("interop.scope", "1.2.3")
logging = LoggerProvider(resource=resource)
logging.add_log_record_processor(SimpleLogRecordProcessor(logs))
logger = logging.get_logger("interop.scope", "1.2.3")

elsewhere = SpanContext(
    trace_id=0x0102030405060708090A0B0C0D0E0F10,
    span_id=0x1112131415161718,
    is_remote=True,
    trace_flags=TraceFlags(1),
)
attributes = {"text": "grüße", "int": 42, "float": 1.5, "bool": True, "list": ["a", "b"]}
with tracer.start_as_current_span("parent", kind=SpanKind.SERVER, attributes=attributes) as parent:
    with tracer.start_as_current_span(
        "child", kind=SpanKind.CLIENT, links=[Link(elsewhere, {"why": "retry"})]
    ) as child:
        child.add_event("cache.miss", {"key": "k1"})
        child.set_status(Status(StatusCode.ERROR, "boom"))
        logger.emit(
            LogRecord(
                timestamp=1_750_000_000_000_000_001,
                observed_timestamp=1_750_000_000_000_000_002,
                severity_number=SeverityNumber.WARN,
                severity_text="WARN",
                body="disk is full",
                attributes={"disk": "sda"},
                context=trace.set_span_in_context(child),
            )
        )

metering = MeterProvider(
    resource=resource,
    metric_readers=[PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)],
)
meter = metering.get_meter("interop.scope", "1.2.3")
requests = meter.create_counter("requests", unit="1", description="Requests served")
requests.add(3, {"route": "/a"})
requests.add(4, {"route": "/a"})
meter.create_up_down_counter("queue").add(-2)
meter.create_observable_gauge("temperature", [lambda _: [Observation(21.5)]], unit="Cel")
latency = meter.create_histogram("latency", unit="ms")
latency.record(5)
latency.record(15)

for provider in (traces, logging, metering):
    provider.shutdown()

print(
    json.dumps(
        {
            "trace_id": format(parent.context.trace_id, "032x"),
            "spans": {
                span.name: {
                    "span_id": format(span.context.span_id, "016x"),
                    "start": span.start_time,
                    "end": span.end_time,
                }
                for span in (parent, child)
            },
            "event": child.events[0].timestamp,
        }
    )
)
if failures:
    sys.exit("not taken: " + "; ".join(failures))
