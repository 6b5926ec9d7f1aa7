package spans

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/tracing"
)

// TestMain has nothing depend on the settings of whoever runs the tests.
func TestMain(m *testing.M) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OTEL_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func assignment(epochs uint32) *trellisv1.Assignment {
	return &trellisv1.Assignment{
		Study: "study", Run: "run", Attempt: 7, Traceparent: parent,
		Config: &trellisv1.RunConfig{Model: "classifier", Parameters: &trellisv1.Parameters{MaxEpochs: epochs}},
	}
}

// spansOf returns the spans of what is done with a tracer, by name.
func spansOf(t *testing.T, do func(*tracing.Tracer)) map[string]tracetest.SpanStubs {
	t.Helper()
	exporter := &kept{}
	tracer := tracing.New(exporter, tracing.Config{Service: "test", Logger: slog.New(slog.DiscardHandler)})
	do(tracer)
	tracer.Stop()
	byName := map[string]tracetest.SpanStubs{}
	for _, span := range exporter.spans {
		byName[span.Name] = append(byName[span.Name], span)
	}
	return byName
}

// kept is an exporter that keeps its spans when it is shut down.
type kept struct {
	tracetest.InMemoryExporter
	spans tracetest.SpanStubs
}

func (k *kept) Shutdown(ctx context.Context) error {
	k.spans = k.GetSpans()
	return k.InMemoryExporter.Shutdown(ctx)
}

// However many epochs and checkpoints a run has, its spans are bounded, and the last epoch is among the events.
func TestBounds(t *testing.T) {
	const epochs = 1234
	spans := spansOf(t, func(tracer *tracing.Tracer) {
		ctx, attempt := Start(t.Context(), tracer, "worker", assignment(epochs))
		inner, training := attempt.Train(ctx, 0)
		for epoch := 1; epoch <= epochs; epoch++ {
			training.Epoch(epoch, 1/float64(epoch))
			uploading, upload := attempt.Upload(ctx, uint32(epoch))
			if traced := trace.SpanContextFromContext(uploading).IsValid(); traced != (epoch <= maxUploads) {
				t.Errorf("the calls of upload %d are traced: %v", epoch, traced)
			}
			End(uploading, upload, nil)
		}
		training.End(inner, nil)
		attempt.Sent(&trellisv1.Outcome{})
		attempt.Sent(&trellisv1.Outcome{})
		attempt.Stopped()
	})
	if got := len(spans["upload checkpoint"]); got != maxUploads {
		t.Errorf("%d uploads have spans, want %d", got, maxUploads)
	}
	if len(spans["attempt"]) != 1 || len(spans["train"]) != 1 {
		t.Fatalf("spans: %v", spans)
	}
	want := trace.SpanContextFromContext(tracing.Within(t.Context(), parent))
	if got := spans["attempt"][0].Parent; got.SpanID() != want.SpanID() {
		t.Errorf("the attempt is within %v, want %v", got, want)
	}
	events := spans["train"][0].Events
	last := events[len(events)-1].Attributes[0].Value.AsInt64()
	if len(events) > maxEvents+1 || len(events) < maxEvents/2 || last != epochs {
		t.Errorf("%d events, the last of epoch %d", len(events), last)
	}
}

// A training that fails is an error, and one that is interrupted none. What a program has written, which may be in
// errors, is sent nowhere.
func TestEnds(t *testing.T) {
	const secret = "password=1234"
	spans := spansOf(t, func(tracer *tracing.Tracer) {
		ctx, attempt := Start(t.Context(), tracer, "worker", assignment(3))
		_, training := attempt.Train(ctx, 0)
		training.End(ctx, errors.New("broken: "+secret))
		interrupted, interrupt := context.WithCancel(ctx)
		interrupt()
		_, training = attempt.Train(interrupted, 2)
		training.End(interrupted, errors.New("the worker drains"))
		attempt.Sent(&trellisv1.Outcome{Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
			Class: trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY, Message: "too large: " + secret,
		}}})
	})
	trainings, attempt := spans["train"], spans["attempt"][0]
	if len(trainings) != 2 || trainings[0].Status.Code != codes.Error || trainings[1].Status.Code != codes.Unset {
		t.Errorf("trainings: %+v", trainings)
	}
	if attempt.Status.Code != codes.Error || attempt.Status.Description != "out_of_memory" {
		t.Errorf("the attempt ends with %+v", attempt.Status)
	}
	if said := fmt.Sprint(spans); strings.Contains(said, secret) {
		t.Errorf("the spans have what the program has written: %s", said)
	}
}

// Without a tracer nothing is allocated.
func TestOff(t *testing.T) {
	outcome, config := &trellisv1.Outcome{}, assignment(3)
	logger, failure := slog.New(slog.DiscardHandler), errors.New("broken")
	allocations := testing.AllocsPerRun(100, func() {
		ctx, attempt := Start(t.Context(), nil, "worker", config)
		attempt.Logger(logger)
		ctx, training := attempt.Train(ctx, 0)
		training.Epoch(1, 0.5)
		ctx, upload := attempt.Upload(ctx, 1)
		End(ctx, upload, failure)
		training.End(ctx, failure)
		attempt.Sent(outcome)
		attempt.Stopped()
	})
	if allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}
