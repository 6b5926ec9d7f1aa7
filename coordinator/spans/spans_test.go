package spans

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/trajectory"
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

// traced is a store, and the spans of its runs.
type traced struct {
	*testing.T
	*Spans
	store  *results.Store
	index  uint64
	tracer *tracing.Tracer
	kept   kept
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

// newTraced has a study of a number of runs, a worker that has been granted the run at a place, and a store that has been
// restored since, as after a restart.
func newTraced(t *testing.T, runs, place uint32) (*traced, *trellisv1.Grant) {
	t.Helper()
	c := &traced{T: t, store: must(results.New())}
	c.create(runs)
	c.do(c.store.SetWorker(c.next(), timestamppb.Now(), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1,
	}))
	chosen := must(c.store.Snapshot().NextRuns(nil, int(place)+1))[place]
	grant := &trellisv1.Grant{Study: "s", Run: chosen.GetId(), Worker: "w", Place: new(place)}
	c.do(c.store.Grant(c.next(), timestamppb.Now(), []*trellisv1.Grant{grant})[0])
	var content bytes.Buffer
	must(c.store.Snapshot().WriteTo(&content))
	c.do(c.store.Restore(&content))
	c.tracer = tracing.New(&c.kept, tracing.Config{Service: "test", Logger: slog.New(slog.DiscardHandler)})
	c.Spans = New(c.tracer, c.store)
	return c, grant
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func (c *traced) do(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *traced) next() uint64 { c.index++; return c.index }

func (c *traced) create(runs uint32) {
	c.Helper()
	dims := make([]uint32, runs)
	for i := range dims {
		dims[i] = uint32(i) + 1
	}
	c.do(c.store.CreateStudy(c.next(), timestamppb.Now(), &trellisv1.Study{
		Name: "s", Numerics: "test", Spec: grid.WithDefaults(&trellisv1.StudySpec{
			Name: "s", Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(dims...), "max_epochs": trellisv1.AxisOf[uint32](1),
			}}},
		}),
	}))
}

// fail records that the granted attempt has failed for good, and returns what is to be traced of it.
func (c *traced) fail(grant *trellisv1.Grant, message string) (*Recording, *trellisv1.Outcome) {
	c.Helper()
	run := must(c.store.Snapshot().Granted(grant))
	outcome := &trellisv1.Outcome{
		Study: grant.GetStudy(), Run: grant.GetRun(), Attempt: run.GetAttempt(),
		Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
			Attempt: run.GetAttempt(), Worker: "w", Class: trellisv1.FailureClass_FAILURE_CLASS_INPUT, Message: message,
		}},
	}
	entries := []*trellisv1.RecordCommand_Entry{{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}}}
	recording := c.Record(entries)
	c.do(c.store.Record(c.next(), timestamppb.Now(), trajectory.LatestRules, entries)[0])
	return recording, outcome
}

// ended stops the tracer, and returns the spans of a name.
func (c *traced) ended(name string) (found tracetest.SpanStubs) {
	c.tracer.Stop()
	for _, span := range c.kept.spans {
		if span.Name == name {
			found = append(found, span)
		}
	}
	return found
}

// The run of an outcome is found by its lease, at once: by its id, the ids of all runs would be computed and kept, while all
// acknowledgements wait. What a program has written is in no span.
func TestRecordedFindsTheRunByItsLease(t *testing.T) {
	const runs, secret = 100_000, "password=1234"
	c, grant := newTraced(t, runs, 3)
	recording, outcome := c.fail(grant, "the program failed: "+secret)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	recording.Recorded(outcome, time.Now())
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 8*runs {
		t.Errorf("%d bytes were allocated: the ids of all runs were computed", took)
	}
	if records, ends := c.ended("record"), c.ended("run"); len(records) != 1 || len(ends) != 1 ||
		ends[0].Status.Description != "input" || strings.Contains(fmt.Sprint(ends, records), secret) {
		t.Errorf("the spans are %+v and %+v", records, ends)
	}
}

// A run that was leased before this term, and is canceled in it, has its span.
func TestBeginFindsLeasedRuns(t *testing.T) {
	c, _ := newTraced(t, 2, 1)
	c.Begin()
	c.do(c.store.SetStudyState(c.next(), timestamppb.Now(), "s", trellisv1.StudyState_STUDY_STATE_CANCELED))
	c.sweep()
	c.sweep()
	c.sweep()
	if ends := c.ended("run"); len(ends) != 1 {
		t.Errorf("there are %d spans of the run, want 1", len(ends))
	}
}

// A run's span is ended once, whether the sweep comes before or after the outcome is traced.
func TestRunEndsOnce(t *testing.T) {
	for name, sweeps := range map[string]func(c *traced, recorded func()){
		"before": func(c *traced, recorded func()) { c.sweep(); c.sweep(); recorded() },
		"around": func(c *traced, recorded func()) { c.sweep(); recorded(); c.sweep() },
		"after":  func(c *traced, recorded func()) { recorded(); c.sweep(); c.sweep() },
	} {
		t.Run(name, func(t *testing.T) {
			c, grant := newTraced(t, 2, 1)
			c.Begin()
			recording, outcome := c.fail(grant, "failed")
			sweeps(c, func() { recording.Recorded(outcome, time.Now()) })
			if ends := c.ended("run"); len(ends) != 1 {
				t.Errorf("there are %d spans of the run, want 1", len(ends))
			}
		})
	}
}
