// Sends what the variables say with the official SDK: see `exporter::Program`.
//
// Argument: the folder that has the packages installed. The exporters are made without arguments, so
// that the OTEL_EXPORTER_OTLP_* variables decide. Each item is a request of its own; a failed export is
// the SDK's to report.

import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { LoggerProvider, BatchLogRecordProcessor } = require("@opentelemetry/sdk-logs");
const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { resourceFromAttributes } = require("@opentelemetry/resources");

const { env } = process;
const kind = { grpc: "grpc", "http/protobuf": "proto", "http/json": "http" }[
  env.OTEL_EXPORTER_OTLP_PROTOCOL
];
const load = (signal) => require(`@opentelemetry/exporter-${signal}-otlp-${kind}`);
const items = Number(env.CONFORMANCE_ITEMS ?? "1");
const bytes = Number(env.CONFORMANCE_BYTES ?? "0");
const attributes = bytes ? { big: "a".repeat(bytes) } : { int: 42, double: 1.5, list: ["a", "b"] };
const resource = resourceFromAttributes({ "service.name": "conformance" });
const later = { scheduledDelayMillis: 3_600_000, exportTimeoutMillis: 60_000 };
const quietly = (promise) => promise.catch((error) => console.error(String(error)));

let provider;
if ((env.CONFORMANCE_SIGNAL ?? "traces") === "traces") {
  const exporter = new (load("trace").OTLPTraceExporter)();
  provider = new BasicTracerProvider({
    resource,
    spanProcessors: [new BatchSpanProcessor(exporter, later)],
    forceFlushTimeoutMillis: 60_000,
  });
  const tracer = provider.getTracer("conformance");
  for (let item = 1; item <= items; item += 1) {
    tracer.startSpan(`cfm:${item}:`, { attributes }).end();
    await quietly(provider.forceFlush());
  }
} else if (env.CONFORMANCE_SIGNAL === "logs") {
  const exporter = new (load("logs").OTLPLogExporter)();
  provider = new LoggerProvider({
    resource,
    processors: [new BatchLogRecordProcessor({ exporter, ...later })],
  });
  const logger = provider.getLogger("conformance");
  for (let item = 1; item <= items; item += 1) {
    logger.emit({ body: `cfm:${item}:`, attributes });
    await quietly(provider.forceFlush());
  }
} else {
  const exporter = new (load("metrics").OTLPMetricExporter)();
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  provider = new MeterProvider({ resource, readers: [reader] });
  const meter = provider.getMeter("conformance");
  for (let item = 1; item <= items; item += 1) {
    meter.createCounter(`items${item}`, { description: `cfm:${item}:` }).add(3, attributes);
  }
}
await quietly(provider.shutdown());
