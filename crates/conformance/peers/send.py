"""Sends what the variables say with the official SDK: see `exporter::Program`.

The exporters are made without arguments, so that the OTEL_EXPORTER_OTLP_* variables decide. Each item
is a request of its own; a failed export is the SDK's to report.
"""

import os

from opentelemetry.sdk.resources import Resource

protocol = os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"]
signal = os.environ.get("CONFORMANCE_SIGNAL", "traces")
items = int(os.environ.get("CONFORMANCE_ITEMS", "1"))
big = "a" * int(os.environ.get("CONFORMANCE_BYTES", "0"))
attributes = {"big": big} if big else {"int": 42, "double": 1.5, "list": ["a", "b"]}
resource = Resource({"service.name": "conformance"})
if protocol == "grpc":
    kind = "opentelemetry.exporter.otlp.proto.grpc"
else:
    kind = "opentelemetry.exporter.otlp.proto.http"


def load(module, name):
    return getattr(__import__(f"{kind}.{module}", fromlist=[name]), name)()


if signal == "traces":
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource)
    exporter = load("trace_exporter", "OTLPSpanExporter")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    tracer = provider.get_tracer("conformance")
    for item in range(1, items + 1):
        tracer.start_span(f"cfm:{item}:", attributes=attributes).end()
        provider.force_flush(60_000)
elif signal == "logs":
    from opentelemetry._logs import LogRecord
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=resource)
    exporter = load("_log_exporter", "OTLPLogExporter")
    provider.add_log_record_processor(
        BatchLogRecordProcessor(exporter, schedule_delay_millis=3_600_000)
    )
    logger = provider.get_logger("conformance")
    for item in range(1, items + 1):
        logger.emit(LogRecord(body=f"cfm:{item}:", attributes=attributes))
        provider.force_flush(60_000)
else:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = load("metric_exporter", "OTLPMetricExporter")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider(resource=resource, metric_readers=[reader])
    meter = provider.get_meter("conformance")
    for item in range(1, items + 1):
        meter.create_counter(f"items{item}", description=f"cfm:{item}:").add(3, attributes)
provider.shutdown()
