package tracing

import (
	"context"
	"log/slog"
	"regexp"
	"strconv"
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
	// waiting is how many spans have ended and are to be sent, and lost how many never will be.
	waiting, lost int
	// dropped is how many spans could not be sent since the last that could.
	dropped int
	// full says that spans were dropped because too many wait. slow and rejecting say that the log has it.
	full, slow, rejecting bool
}

func newSender(exporter sdktrace.SpanExporter, logger *slog.Logger) *sender {
	s := &sender{SpanExporter: exporter, logger: logger}
	s.life, s.giveUp = context.WithCancel(context.Background())
	return s
}

// queue has the spans that wait. It drops what is too much by itself: OpenTelemetry's own would not say so.
type queue struct {
	sdktrace.SpanProcessor
	sender *sender
	room   int
}

// newQueue returns a queue with room for a number of spans. If that is not positive, it is as many as OpenTelemetry's.
func newQueue(s *sender, room int) queue {
	if room <= 0 {
		room = sdktrace.DefaultMaxQueueSize
	}
	return queue{sdktrace.NewBatchSpanProcessor(s, sdktrace.WithMaxQueueSize(room)), s, room}
}

// OnEnd implements sdktrace.SpanProcessor.
func (q queue) OnEnd(span sdktrace.ReadOnlySpan) {
	if span.SpanContext().IsSampled() && q.sender.enter(q.room) {
		q.SpanProcessor.OnEnd(span)
	}
}

// enter counts a span that has ended, and says whether there is room for it.
func (s *sender) enter(room int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= room {
		s.full = true
		s.lost++
		return false
	}
	s.waiting++
	return true
}

// unsent returns how many spans have ended and have not been sent.
func (s *sender) unsent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost + s.waiting
}

// partial is how the error reads by which OpenTelemetry's clients say that the endpoint has taken a part only. Its type
// is their own.
var partial = regexp.MustCompile(`OTLP partial success: (?s:.*)\((\d+) spans rejected\)`)

// ExportSpans implements sdktrace.SpanExporter. There is nobody to return an error to.
func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	err := s.SpanExporter.ExportSpans(ctx, spans)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= len(spans)
	if err != nil {
		if rejected := partial.FindStringSubmatch(err.Error()); rejected != nil {
			count, _ := strconv.Atoi(rejected[1])
			s.lost += min(count, len(spans))
			if !s.rejecting {
				s.logger.Warn("the endpoint of traces does not take all spans", "error", err)
			}
			s.rejecting, err = true, nil
		}
	}
	before := s.dropped
	if err == nil {
		s.dropped = 0
		if before > 0 {
			s.logger.Info("traces can be sent again", "spans lost", before)
		}
		if s.full && !s.slow && before == 0 {
			s.slow = true
			s.logger.Warn("the endpoint of traces is too slow: spans are dropped")
		}
		return nil
	}
	s.dropped += len(spans)
	s.lost += len(spans)
	if before == 0 {
		s.logger.Warn("traces can't be sent: spans are dropped until they can", "error", err)
	}
	return nil
}
