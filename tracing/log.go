package tracing

import (
	"context"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// Logger returns a logger whose lines have the trace_id and the span_id of their context's span. Without traces it is
// the same logger.
func (t *Tracer) Logger(logger *slog.Logger) *slog.Logger {
	if t == nil || logger == nil {
		return logger
	}
	return slog.New(handler{Handler: logger.Handler()})
}

// WithSpan returns a logger all of whose lines have a span's trace_id and span_id.
func WithSpan(logger *slog.Logger, of trace.SpanContext) *slog.Logger {
	if !of.IsValid() {
		return logger
	}
	return logger.With(traceKey, of.TraceID().String(), spanKey, of.SpanID().String())
}

// The names that OpenTelemetry gives them where a log is not its own.
const (
	traceKey = "trace_id"
	spanKey  = "span_id"
)

// handler adds the span of a line's context, unless the line has one.
type handler struct {
	slog.Handler
	given bool
}

var _ slog.Handler = handler{}

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, line slog.Record) error {
	if of := spanOf(ctx); of.IsValid() && !h.given {
		line.AddAttrs(slog.String(traceKey, of.TraceID().String()), slog.String(spanKey, of.SpanID().String()))
	}
	return h.Handler.Handle(ctx, line)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attributes []slog.Attr) slog.Handler {
	given := slices.ContainsFunc(attributes, func(a slog.Attr) bool { return a.Key == traceKey })
	return handler{h.Handler.WithAttrs(attributes), h.given || given}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.given}
}
