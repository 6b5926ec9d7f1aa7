package tracing

import (
	"context"
	"log/slog"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// sender sends spans to the endpoint. It says once that it can't, and once that it can again.
type sender struct {
	sdktrace.SpanExporter
	logger *slog.Logger
	// life ends what is being sent.
	life   context.Context
	giveUp context.CancelFunc

	mu sync.Mutex
	// dropped is how many spans could not be sent since the last that could.
	dropped int
}

func newSender(exporter sdktrace.SpanExporter, logger *slog.Logger) *sender {
	s := &sender{SpanExporter: exporter, logger: logger}
	s.life, s.giveUp = context.WithCancel(context.Background())
	return s
}

// ExportSpans implements sdktrace.SpanExporter. There is nobody to return an error to.
func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	err := s.SpanExporter.ExportSpans(ctx, spans)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.dropped
	if err == nil {
		s.dropped = 0
		if before > 0 {
			s.logger.Info("traces can be sent again", "spans lost", before)
		}
		return nil
	}
	s.dropped += len(spans)
	if before == 0 {
		s.logger.Warn("traces can't be sent: spans are dropped until they can", "error", err)
	}
	return nil
}
