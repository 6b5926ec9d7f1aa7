package spans

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/tracing"
)

const (
	// maxEvents bounds the epochs that a span of training has as events: those at equal distances, and the last.
	maxEvents = 100
	// maxUploads bounds the uploads of an attempt that have spans.
	maxUploads = 32
)

// Attempt is an attempt's span. A nil Attempt has none.
type Attempt struct {
	tracer *tracing.Tracer
	span   trace.Span
	// every is how many epochs are between two that are events.
	every   int
	uploads atomic.Int32
}

// Start starts the span of an attempt, and returns the context of all that belongs to it.
func Start(
	ctx context.Context, tracer *tracing.Tracer, worker string, assignment *trellisv1.Assignment,
) (context.Context, *Attempt) {
	if tracer == nil {
		return ctx, nil
	}
	ctx, span := tracer.Start(tracing.Within(ctx, assignment.GetTraceparent()), "attempt")
	config := assignment.GetConfig()
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("trellis.study.name", assignment.GetStudy()), attribute.String("trellis.run.id", assignment.GetRun()),
			attribute.Int64("trellis.attempt.number", int64(assignment.GetAttempt())),
			attribute.String("trellis.worker.name", worker), attribute.String("trellis.model", config.GetModel()),
			attribute.Bool("trellis.program", config.GetProgram() != nil))
	}
	return ctx, &Attempt{tracer: tracer, span: span, every: 1 + (int(config.GetParameters().GetMaxEpochs())-1)/maxEvents}
}

// Logger returns a logger whose lines name the span.
func (a *Attempt) Logger(logger *slog.Logger) *slog.Logger {
	if a == nil {
		return logger
	}
	return tracing.WithSpan(logger, a.span.SpanContext())
}

// Sent ends the span: its outcome has been sent. It may be called again, to no effect.
func (a *Attempt) Sent(outcome *trellisv1.Outcome) {
	if a == nil {
		return
	}
	switch result := outcome.GetResult().(type) {
	case *trellisv1.Outcome_Success_:
		a.span.SetAttributes(outcomeKey.String("success"), epochsKey.Int64(int64(result.Success.GetEpochs())))
	case *trellisv1.Outcome_Failure:
		class := strings.ToLower(strings.TrimPrefix(result.Failure.GetClass().String(), "FAILURE_CLASS_"))
		a.span.SetAttributes(outcomeKey.String("failure"), attribute.String("error.type", class))
		a.span.SetStatus(codes.Error, class) // Its message may have what a program has written.
	case *trellisv1.Outcome_Return_:
		a.span.SetAttributes(outcomeKey.String("return"))
	}
	a.span.End()
}

// Stopped ends the span of an attempt that the worker has forgotten, if it has not ended.
func (a *Attempt) Stopped() {
	if a != nil {
		a.span.SetAttributes(outcomeKey.String("stopped"))
		a.span.End()
	}
}

// Training is the span of a training. A nil Training has none.
type Training struct {
	span trace.Span
	// before is the epoch before the first, and last the last one so far.
	every, before, last int
	loss                float64
}

// Train starts the span of a training after an epoch.
func (a *Attempt) Train(ctx context.Context, after int) (context.Context, *Training) {
	if a == nil {
		return ctx, nil
	}
	ctx, span := a.tracer.Start(ctx, "train")
	span.SetAttributes(attribute.Int("trellis.epoch.first", after+1))
	return ctx, &Training{span: span, every: a.every, before: after, last: after}
}

// Epoch traces an epoch, with the loss of its validation, or NaN.
func (t *Training) Epoch(epoch int, loss float64) {
	if t == nil {
		return
	}
	t.last, t.loss = epoch, loss
	if epoch%t.every == 0 {
		t.event()
	}
}

func (t *Training) event() {
	attributes := []attribute.KeyValue{attribute.Int("trellis.epoch", t.last)}
	if !math.IsNaN(t.loss) {
		attributes = append(attributes, attribute.Float64("trellis.validation_loss", t.loss))
	}
	t.span.AddEvent("epoch", trace.WithAttributes(attributes...))
}

// End ends the span. An error is none if ctx is done: training was interrupted.
func (t *Training) End(ctx context.Context, err error) {
	if t == nil {
		return
	}
	if t.last%t.every != 0 && t.last > t.before {
		t.event()
	}
	t.span.SetAttributes(attribute.Int("trellis.epoch.last", t.last))
	end(ctx, t.span, err)
}

// Upload starts the span of a checkpoint's upload.
func (a *Attempt) Upload(ctx context.Context, epoch uint32) (context.Context, trace.Span) {
	if a == nil {
		return ctx, nil
	}
	if a.uploads.Add(1) > maxUploads {
		return Untraced(ctx), nil
	}
	ctx, span := a.tracer.Start(ctx, "upload checkpoint")
	span.SetAttributes(attribute.Int64("trellis.epoch", int64(epoch)))
	return ctx, span
}

// Untraced returns a context whose calls have no spans.
func Untraced(ctx context.Context) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return trace.ContextWithSpan(ctx, nil)
}

// End ends the span of an upload, which may be nil, as Training.End does.
func End(ctx context.Context, span trace.Span, err error) {
	if span != nil {
		end(ctx, span, err)
	}
}

func end(ctx context.Context, span trace.Span, err error) {
	switch {
	case err != nil && ctx.Err() != nil:
		span.SetAttributes(attribute.Bool("trellis.interrupted", true))
	case err != nil:
		// The error may have what a program has written, which belongs to no trace: it is in the log.
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// Attributes that several spans have.
const (
	outcomeKey = attribute.Key("trellis.attempt.outcome")
	epochsKey  = attribute.Key("trellis.run.epochs")
)
