// Sends a fixed scene with the official SDK and prints what cannot be known beforehand: ids and times.
//
// Arguments: PACKAGES (the folder that has them installed) PROTOCOL (grpc, http/protobuf or http/json)
// ENDPOINT COMPRESSION (none or gzip) SERVICE
// Ends with a status other than 0 if anything was not taken.

import { createRequire } from "node:module";

const [packages, protocol, endpoint, compression, service] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { SpanKind, SpanStatusCode, ValueType, context, trace } = require("@opentelemetry/api");
const { AsyncLocalStorageContextManager } = require("@opentelemetry/context-async-hooks");
const { LoggerProvider, SimpleLogRecordProcessor } = require("@opentelemetry/sdk-logs");
const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { BasicTracerProvider, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { resourceFromAttributes } = require("@opentelemetry/resources");

const failures = [];

function exporters() {
  const kind = { grpc: "grpc", "http/protobuf": "proto", "http/json": "http" }[protocol];
  const load = (signal) => require(`@opentelemetry/exporter-${signal}-otlp-${kind}`);
  const url = (signal) => (kind === "grpc" ? endpoint : `${endpoint}/v1/${signal}`);
  return [
    new (load("trace").OTLPTraceExporter)({ url: url("traces"), compression }),
    new (load("metrics").OTLPMetricExporter)({ url: url("metrics"), compression }),
    new (load("logs").OTLPLogExporter)({ url: url("logs"), compression }),
  ].map(watched);
}

// The SDK logs a failed export and goes on: here it has to be seen.
function watched(exporter) {
  const send = exporter.export.bind(exporter);
  exporter.export = (items, done) =>
    send(items, (result) => {
      if (result.code !== 0) {
        failures.push(`${exporter.constructor.name}: ${result.error}`);
      }
      done(result);
    });
  return exporter;
}

const nanos = ([seconds, rest]) => BigInt(seconds) * 1_000_000_000n + BigInt(rest);

const [spans, metrics, logs] = exporters();
const resource = resourceFromAttributes({
  "service.name": service,
  "deployment.environment.name": "test",
});
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());

const tracing = new BasicTracerProvider({
  resource,
  spanProcessors: [new SimpleSpanProcessor(spans)],
});
const logging = new LoggerProvider({
  resource,
  processors: [new SimpleLogRecordProcessor(logs)],
});
const tracer = tracing.getTracer("interop.scope", "1.2.3");
const logger = logging.getLogger("interop.scope", "1.2.3");

const elsewhere = {
  traceId: "0102030405060708090a0b0c0d0e0f10",
  spanId: "1112131415161718",
  isRemote: true,
  traceFlags: 1,
};
const attributes = { text: "grüße", int: 42, float: 1.5, bool: true, list: ["a", "b"] };
const parent = tracer.startSpan("parent", { kind: SpanKind.SERVER, attributes });
const within = trace.setSpan(context.active(), parent);
const links = [{ context: elsewhere, attributes: { why: "retry" } }];
const child = tracer.startSpan("child", { kind: SpanKind.CLIENT, links }, within);
child.addEvent("cache.miss", { key: "k1" });
child.setStatus({ code: SpanStatusCode.ERROR, message: "boom" });
logger.emit({
  timestamp: [1_750_000_000, 1],
  observedTimestamp: [1_750_000_000, 2],
  severityNumber: 13,
  severityText: "WARN",
  body: "disk is full",
  attributes: { disk: "sda" },
  context: trace.setSpan(context.active(), child),
});
child.end();
parent.end();

const metering = new MeterProvider({
  resource,
  readers: [
    new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 }),
  ],
});
const meter = metering.getMeter("interop.scope", "1.2.3");
const requests = meter.createCounter("requests", {
  unit: "1",
  description: "Requests served",
  valueType: ValueType.INT,
});
requests.add(3, { route: "/a" });
requests.add(4, { route: "/a" });
meter.createUpDownCounter("queue", { valueType: ValueType.INT }).add(-2);
const temperature = meter.createObservableGauge("temperature", { unit: "Cel" });
temperature.addCallback((result) => result.observe(21.5));
const latency = meter.createHistogram("latency", { unit: "ms" });
latency.record(5);
latency.record(15);

for (const provider of [tracing, logging, metering]) {
  await provider.shutdown();
}

const ids = (span) => ({
  span_id: span.spanContext().spanId,
  start: String(nanos(span.startTime)),
  end: String(nanos(span.endTime)),
});
console.log(
  JSON.stringify({
    trace_id: parent.spanContext().traceId,
    spans: { parent: ids(parent), child: ids(child) },
    event: String(nanos(child.events[0].time)),
  }),
);
if (failures.length > 0) {
  console.error(`not taken: ${failures.join("; ")}`);
  process.exit(1);
}
