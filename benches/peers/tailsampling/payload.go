package main

import (
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// spansPerBatch is how many spans a batch has, all of one trace.
const spansPerBatch = 10

// fate is what a trace has that a policy looks for.
type fate int

const (
	ordinary fate = iota
	failed
	slow
)

// fateOf gives every twentieth trace an error and every twentieth a second too much.
func fateOf(number int) fate {
	switch number % 20 {
	case 7:
		return failed
	case 13:
		return slow
	default:
		return ordinary
	}
}

// batch builds the request: two attributes on the resource, three on each span. What
// benches/benches/sampler/batches.rs encodes is the same to the byte, which the wire size shows.
func batch(f fate) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "checkout")
	rs.Resource().Attributes().PutStr("host.name", "node-12.example.com")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("http.server")
	const started = 1_700_000_000_000_000_000
	for i := range spansPerBatch {
		span := ss.Spans().AppendEmpty()
		span.SetTraceID(pcommon.TraceID{1})
		span.SetSpanID(pcommon.SpanID{1})
		if i > 0 {
			span.SetParentSpanID(pcommon.SpanID{2})
		}
		span.SetName("GET /api/v1/orders")
		span.SetKind(ptrace.SpanKindServer)
		lasts := pcommon.Timestamp(5_000_000)
		if f == slow && i == 0 {
			lasts = 2_000_000_000
		}
		span.SetStartTimestamp(started)
		span.SetEndTimestamp(started + lasts)
		span.Attributes().PutStr("http.request.method", "GET")
		span.Attributes().PutStr("http.route", "/api/v1/orders")
		span.Attributes().PutInt("http.response.status_code", 200)
		if f == failed && i == 3 {
			span.Status().SetCode(ptrace.StatusCodeError)
		}
	}
	return td
}

// pool holds prepared batches of each fate, of which a caller takes one after the other and gives
// it the ids of a trace: a processor copies what it is given.
type pool struct {
	of   [3][]ptrace.Traces
	next [3]int
}

// newPool decodes the batches from their wire form, as a receiver does.
func newPool(each int) *pool {
	p := &pool{}
	for f := range p.of {
		wire := marshal(batch(fate(f)))
		for range each {
			p.of[f] = append(p.of[f], unmarshal(wire))
		}
	}
	return p
}

// take returns the next batch of a fate, as one of this trace.
func (p *pool) take(f fate, id pcommon.TraceID) ptrace.Traces {
	td := p.of[f][p.next[f]]
	p.next[f] = (p.next[f] + 1) % len(p.of[f])
	setIDs(td, id)
	return td
}

func setIDs(td ptrace.Traces, id pcommon.TraceID) {
	spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	for i := range spans.Len() {
		spans.At(i).SetTraceID(id)
	}
}

// traceID spreads a number over an id as a tracer's generator does.
func traceID(random *rand.Rand) (id pcommon.TraceID) {
	binary.LittleEndian.PutUint64(id[:8], random.Uint64())
	binary.LittleEndian.PutUint64(id[8:], random.Uint64())
	return id
}

func marshal(td ptrace.Traces) []byte {
	wire, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	check(err)
	return wire
}

func unmarshal(wire []byte) ptrace.Traces {
	td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(wire)
	check(err)
	return td
}
