package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// IDs are those of a trace and of its first span.
type IDs struct {
	trace trace.TraceID
	span  trace.SpanID
}

// StudyIDs returns the IDs of the trace in which a study is created. Its name may have been that of another study, here
// or in another cluster, so its time of creation belongs to it, which is in the log.
func StudyIDs(study string, created time.Time) IDs { return idsOf(study, created, "") }

// RunIDs returns the IDs of the trace of a run: of all attempts at it.
func RunIDs(study string, created time.Time, run string) IDs { return idsOf(study, created, run) }

func idsOf(study string, created time.Time, run string) (ids IDs) {
	hashed := append(make([]byte, 0, 192), "trellis trace 1\x00"...)
	hashed = binary.BigEndian.AppendUint64(hashed, uint64(created.UnixNano()))
	hashed = append(append(append(hashed, study...), 0), run...)
	sum := sha256.Sum256(hashed)
	copy(ids.trace[:], sum[:])
	copy(ids.span[:], sum[len(ids.trace):])
	return ids
}

// Context returns what a link to the first span needs.
func (i IDs) Context() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: i.trace, SpanID: i.span, Remote: true})
}

type idsKey struct{}

// generator gives spans random IDs, but for first spans of traces that everybody knows.
type generator struct{}

var _ sdktrace.IDGenerator = generator{}

// NewIDs returns the IDs of a trace and its first span.
func (g generator) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	if ids, ok := ctx.Value(idsKey{}).(IDs); ok {
		return ids.trace, ids.span
	}
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID returns the ID of another span.
func (generator) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// w3c is how traces are named between processes: the header traceparent.
var w3c propagation.TraceContext

// traceparentKey names it.
const traceparentKey = "traceparent"

// Traceparent names a span for another process.
func Traceparent(of trace.SpanContext) string {
	carrier := propagation.MapCarrier{}
	w3c.Inject(trace.ContextWithSpanContext(context.Background(), of), carrier)
	return carrier[traceparentKey]
}

// Within returns a context whose spans are within the one that another process has named. What is no traceparent is
// ignored.
func Within(ctx context.Context, traceparent string) context.Context {
	return w3c.Extract(ctx, propagation.MapCarrier{traceparentKey: traceparent})
}
