package tracing

import (
	"context"
	"net/http"

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
	// only if the caller is traced.
	WithinTraces
	// Never is for streams that live as long as their client, and for questions whether a server lives.
	Never
)

// ServerOptions give the calls of a server spans.
func (t *Tracer) ServerOptions(of func(method string) Traced) []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(t.serverHandler(of))}
}

func (t *Tracer) serverHandler(of func(method string) Traced) stats.Handler {
	return chosen{otelgrpc.NewServerHandler(t.callOptions()...), func(ctx context.Context, method string) bool {
		switch of(method) {
		case Always:
			return true
		case WithinTraces:
			return len(metadata.ValueFromIncomingContext(ctx, traceparentKey)) > 0
		default:
			return false
		}
	}}
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
