// Command tailsampling drives the Collector's tail_sampling processor in this process, by its
// public API alone, and prints as JSON what a span costs it.
//
// The work is that of the Go side's own benchmark: batches of ten spans of one trace, with two
// attributes on the resource and three on each span. The processor gets decoded batches: decoding
// is not counted. It hands on to a sink that counts. Its metrics and traces go nowhere, which is
// kinder to it than a real service is. It works in a goroutine of its own behind a channel that
// holds one batch for each core, so that when the last batch is handed in all but the last two are
// done.
package main

import (
	"context"
	"encoding/json"
	"log"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
)

const module = "/tailsamplingprocessor"

// rounds is how often what takes a moment is measured; the median counts.
const rounds = 5

// traces are as many as are appended to and come late.
const traces = 8192

// measured is what is printed.
type measured struct {
	Version            string             `json:"version"`
	Go                 string             `json:"go"`
	Procs              int                `json:"gomaxprocs"`
	WireBytesPerSpan   float64            `json:"wire_bytes_per_span"`
	NsPerSpan          map[string]float64 `json:"ns_per_span"`
	MixedSpansPerSec   float64            `json:"mixed_spans_per_cpu_second"`
	MixedKept          float64            `json:"mixed_kept"`
	RetainedBytesASpan float64            `json:"retained_bytes_per_span"`
}

// sink counts what it gets and, where it is asked to, remembers whose it was.
type sink struct {
	spans atomic.Int64
	kept  map[pcommon.TraceID]struct{}
}

func (*sink) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{}
}

func (s *sink) ConsumeTraces(_ context.Context, td ptrace.Traces) error {
	if s.kept != nil {
		for _, rs := range td.ResourceSpans().All() {
			s.kept[rs.ScopeSpans().At(0).Spans().At(0).TraceID()] = struct{}{}
		}
	}
	s.spans.Add(int64(td.SpanCount()))
	return nil
}

// rival is a processor at work.
type rival struct {
	processor processor.Traces
	sink      *sink
	pool      *pool
	random    *rand.Rand
	// cancel lets it stop without deciding about what it holds.
	cancel context.CancelFunc
}

// start makes a processor with the policies that both sides have: errors, more than a second, and
// a tenth of the rest.
func start(p *pool, wait string, remembers bool) *rival {
	cached := 0
	if remembers {
		cached = 100_000
	}
	text := map[string]any{
		"decision_wait":     wait,
		"num_traces":        2_000_000,
		"block_on_overflow": true,
		"decision_cache": map[string]any{
			"sampled_cache_size":     cached,
			"non_sampled_cache_size": cached,
		},
		"policies": []any{
			map[string]any{
				"name": "errors", "type": "status_code",
				"status_code": map[string]any{"status_codes": []any{"ERROR"}},
			},
			map[string]any{
				"name": "slow", "type": "latency",
				"latency": map[string]any{"threshold_ms": 1000},
			},
			map[string]any{
				"name": "share", "type": "probabilistic",
				"probabilistic": map[string]any{"sampling_percentage": 10},
			},
		},
	}
	factory := tailsamplingprocessor.NewFactory()
	config := factory.CreateDefaultConfig()
	check(confmap.NewFromStringMap(text).Unmarshal(config))
	ctx, cancel := context.WithCancel(context.Background())
	settings := processor.Settings{
		ID:                component.NewID(factory.Type()),
		TelemetrySettings: componenttest.NewNopTelemetrySettings(),
	}
	s := &sink{}
	made, err := factory.CreateTraces(ctx, settings, config, s)
	check(err)
	check(made.Start(ctx, componenttest.NewNopHost()))
	return &rival{made, s, p, rand.New(rand.NewPCG(1, 2)), cancel}
}

func (r *rival) stop() {
	r.cancel()
	check(r.processor.Shutdown(context.Background()))
	runtime.GC()
}

func (r *rival) offer(f fate, id pcommon.TraceID) {
	check(r.processor.ConsumeTraces(context.Background(), r.pool.take(f, id)))
}

// seed offers so many traces and returns their ids.
func (r *rival) seed(number int, f func(int) fate) []pcommon.TraceID {
	ids := make([]pcommon.TraceID, number)
	for i := range ids {
		ids[i] = traceID(r.random)
		r.offer(f(i), ids[i])
	}
	return ids
}

// decided waits until it has decided about all that it was given.
func (r *rival) decided() {
	r.offer(failed, traceID(r.random))
	before := r.sink.spans.Load()
	// The wait of a second, begun in one tick and over in another, and one tick more.
	time.Sleep(3500 * time.Millisecond)
	if r.sink.spans.Load() == before {
		log.Fatal("it has not decided")
	}
}

// cpu is the time that all threads of this process have had on a core, those of the garbage
// collector included: on a machine that does other things as well, the wall's time says nothing.
func cpu() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func nsPerSpan(begun time.Duration, batches int) float64 {
	return float64((cpu() - begun).Nanoseconds()) / float64(batches*spansPerBatch)
}

func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
}

// newTraces: each batch begins a trace.
func newTraces(p *pool) float64 {
	const batches = 30_000
	var figures []float64
	for range rounds {
		r := start(p, "600s", true)
		r.seed(2000, fateOf)
		begun := cpu()
		r.seed(batches, fateOf)
		figures = append(figures, nsPerSpan(begun, batches))
		r.stop()
	}
	return median(figures)
}

// appended: each batch goes to a trace that is held.
func appended(p *pool) float64 {
	const batches = 3 * traces
	var figures []float64
	for range rounds {
		r := start(p, "600s", true)
		ids := r.seed(traces, fateOf)
		begun := cpu()
		for i := range batches {
			r.offer(ordinary, ids[i%traces])
		}
		figures = append(figures, nsPerSpan(begun, batches))
		r.stop()
	}
	return median(figures)
}

// late: each batch goes to a trace that was decided about, and that the decision cache knows.
func late(p *pool, kept bool) float64 {
	const batches = 10 * traces
	r := start(p, "1s", true)
	defer r.stop()
	r.sink.kept = make(map[pcommon.TraceID]struct{})
	ids := r.seed(traces, func(int) fate {
		if kept {
			return failed
		}
		return ordinary
	})
	r.decided()
	ids = slices.DeleteFunc(ids, func(id pcommon.TraceID) bool {
		_, is := r.sink.kept[id]
		return is != kept
	})
	if len(ids) < traces/2 {
		log.Fatalf("only %d of %d traces are as they should be", len(ids), traces)
	}
	// It is not written while nothing is decided, but it is read for each batch that is kept.
	r.sink.kept = nil
	var figures []float64
	for range rounds {
		before := r.sink.spans.Load()
		begun := cpu()
		for i := range batches {
			r.offer(ordinary, ids[i%len(ids)])
		}
		figures = append(figures, nsPerSpan(begun, batches))
		time.Sleep(100 * time.Millisecond)
		if came := r.sink.spans.Load() - before; (came == batches*spansPerBatch) != kept || (came == 0) == kept {
			log.Fatalf("%d of %d late spans were kept", came, batches*spansPerBatch)
		}
	}
	return median(figures)
}

// mixed: new traces come without end, and are decided about a second later.
func mixed(p *pool, settled, window time.Duration) (float64, float64) {
	r := start(p, "1s", true)
	defer r.stop()
	offered := 0
	during := func(time_ time.Duration) float64 {
		begun, used, before := time.Now(), cpu(), offered
		for time.Since(begun) < time_ {
			for range 16 {
				r.offer(fateOf(offered), traceID(r.random))
				offered++
			}
		}
		return float64((offered-before)*spansPerBatch) / (cpu() - used).Seconds()
	}
	during(settled)
	before, begun := r.sink.spans.Load(), offered
	rate := during(window)
	kept := float64(r.sink.spans.Load()-before) / float64((offered-begun)*spansPerBatch)
	if kept < 0.1 || kept > 0.3 {
		log.Fatalf("%.3f of the spans were kept: it has not decided as it should", kept)
	}
	return rate, kept
}

// retained: what a span takes on the heap while its trace is held. Each batch is decoded for
// itself, as in a receiver: else they would share their texts.
func retained(p *pool) float64 {
	const number = 20_000
	r := start(p, "600s", true)
	defer r.stop()
	var wires [3][]byte
	for f := range wires {
		wires[f] = marshal(batch(fate(f)))
	}
	before := heap()
	for i := range number {
		td := unmarshal(wires[fateOf(i)])
		setIDs(td, traceID(r.random))
		check(r.processor.ConsumeTraces(context.Background(), td))
	}
	// The last ones are still on their way.
	time.Sleep(100 * time.Millisecond)
	return float64(heap()-before) / (number * spansPerBatch)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if strings.HasSuffix(dependency.Path, module) {
				return dependency.Version
			}
		}
	}
	return ""
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	p := newPool(256)
	out := measured{
		Version:            version(),
		Go:                 runtime.Version(),
		Procs:              runtime.GOMAXPROCS(0),
		WireBytesPerSpan:   float64(len(marshal(batch(ordinary)))) / spansPerBatch,
		RetainedBytesASpan: retained(p),
	}
	out.NsPerSpan = map[string]float64{
		"new_traces": newTraces(p),
		"append":     appended(p),
		"late_kept":  late(p, true),
		"late_drop":  late(p, false),
	}
	out.MixedSpansPerSec, out.MixedKept = mixed(p, 3*time.Second, 8*time.Second)
	check(json.NewEncoder(os.Stdout).Encode(out))
}
