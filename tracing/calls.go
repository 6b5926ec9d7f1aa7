package tracing

import (
	"context"
	"net/http"
	"sync/atomic"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
)

// Traced says which calls of a method have spans.
type Traced int

const (
	// Always is for calls that change something.
	Always Traced = iota
	// WithinTraces is for calls that ask for something: they come by the hundred from whoever watches, and have a span
	// only if the caller is traced, and trusted.
	WithinTraces
	// Never is for streams that live as long as their client, and for questions whether a server lives.
	Never
)

// ServerOptions let the calls of a server have spans, from when Begin is told of them.
func (t *Tracer) ServerOptions(of func(method string) Traced) []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(t.serverHandler(of))}
}

func (t *Tracer) serverHandler(of func(method string) Traced) stats.Handler {
	return deferred{otelgrpc.NewServerHandler(t.callOptions()...), of}
}

// deferred handles calls from when it is known who calls: what a stranger says of traces must not cost anything.
type deferred struct {
	stats.Handler
	of func(method string) Traced
}

type callKey struct{}

// call is a server's call that may have a span.
type call struct {
	stats.Handler
	info    *stats.RPCTagInfo
	traced  Traced
	arrived *stats.InHeader
	// begun is the context with its span, nil before Begin.
	begun atomic.Pointer[context.Context]
}

// TagRPC implements stats.Handler.
func (d deferred) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	traced := d.of(info.FullMethodName)
	if traced == Never {
		return ctx
	}
	return context.WithValue(ctx, callKey{}, &call{Handler: d.Handler, info: info, traced: traced})
}

// HandleRPC implements stats.Handler.
func (deferred) HandleRPC(ctx context.Context, its stats.RPCStats) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	if begun := c.begun.Load(); begun != nil {
		c.HandleRPC(*begun, its)
		return
	}
	if header, ok := its.(*stats.InHeader); ok {
		c.arrived = header // Before the call is served, so before Begin.
	}
}

// Begin starts the span of a server's call, if it is to have one, and returns the context within it. Whoever calls must
// be known by then: their trace is followed if they are trusted, and ignored otherwise.
func Begin(ctx context.Context, trusted bool) context.Context {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return ctx
	}
	if !trusted {
		ctx = withoutTrace(ctx)
	}
	if c.traced == WithinTraces && len(metadata.ValueFromIncomingContext(ctx, traceparentKey)) == 0 {
		return ctx
	}
	ctx = c.TagRPC(ctx, c.info)
	if c.arrived != nil {
		c.HandleRPC(ctx, c.arrived)
	}
	c.begun.Store(&ctx)
	return ctx
}

// withoutTrace returns the context of a call whose caller has named no trace.
func withoutTrace(ctx context.Context) context.Context {
	sent, ok := metadata.FromIncomingContext(ctx)
	if !ok {
		return ctx
	}
	for _, key := range w3c.Fields() {
		delete(sent, key) // It is a copy.
	}
	return metadata.NewIncomingContext(ctx, sent)
}

// spanOf returns the span that ctx is within. Whoever has handed a server's call on has a context from before its span.
func spanOf(ctx context.Context) trace.SpanContext {
	of := trace.SpanContextFromContext(ctx)
	if c, ok := ctx.Value(callKey{}).(*call); ok && !of.IsValid() {
		if begun := c.begun.Load(); begun != nil {
			return trace.SpanContextFromContext(*begun)
		}
	}
	return of
}

// DialOptions give the calls of a client spans that are made within a span, and tell the server of it.
func (t *Tracer) DialOptions() []grpc.DialOption {
	if t == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(t.clientHandler())}
}

func (t *Tracer) clientHandler() stats.Handler {
	return chosen{otelgrpc.NewClientHandler(t.callOptions()...), func(ctx context.Context, _ string) bool {
		return trace.SpanContextFromContext(ctx).IsValid()
	}}
}

func (t *Tracer) callOptions() []otelgrpc.Option {
	return []otelgrpc.Option{
		otelgrpc.WithTracerProvider(t.provider), otelgrpc.WithPropagators(w3c),
		otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
	}
}

// chosen handles the calls that are chosen, by their context and method, and costs the others next to nothing.
type chosen struct {
	stats.Handler
	choose func(ctx context.Context, method string) bool
}

type chosenKey struct{}

// TagRPC implements stats.Handler.
func (c chosen) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if !c.choose(ctx, info.FullMethodName) {
		return ctx
	}
	return context.WithValue(c.Handler.TagRPC(ctx, info), chosenKey{}, c.Handler)
}

// HandleRPC implements stats.Handler.
func (c chosen) HandleRPC(ctx context.Context, its stats.RPCStats) {
	if ctx.Value(chosenKey{}) == c.Handler {
		c.Handler.HandleRPC(ctx, its)
	}
}

// Outgoing returns the context of a call that tells the server of the span of ctx.
func (t *Tracer) Outgoing(ctx context.Context) context.Context {
	if t == nil {
		return ctx
	}
	return outgoing(ctx)
}

func outgoing(ctx context.Context) context.Context {
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	for name, value := range carrier {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	return ctx
}

// FromHTTP returns the context of a call that tells the server of the span that a request's headers name. What is not
// valid there is dropped.
func FromHTTP(ctx context.Context, header http.Header) context.Context {
	if header.Get(traceparentKey) == "" {
		return ctx
	}
	return outgoing(w3c.Extract(ctx, propagation.HeaderCarrier(header)))
}
