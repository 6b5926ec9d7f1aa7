package chart

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

// TestMain keeps rapid from writing failures into testdata: it prints the seed that repeats them.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func ok(t interface {
	Helper()
	Fatal(args ...any)
}, err error,
) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// drawn is a store with the study s and workers, to which random things happen.
type drawn struct {
	*rapid.T
	*results.Store
	index uint64
	// given are all attempts, by number.
	given map[uint64]given
}

// given is an attempt at a run. It ended with a command, or holds the run.
type given struct {
	run, worker  string
	began, ended uint64
	epochs       uint32
	failed       bool
}

func (d *drawn) next() uint64 {
	d.index++
	return d.index
}

func (d *drawn) now() *timestamppb.Timestamp { return timeOf(d.index) }

// timeOf is the time of a command.
func timeOf(index uint64) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Add(time.Duration(index) * time.Second))
}

// axisFrom draws one of the axes.
func axisFrom[V float64 | int | string](t *rapid.T, name string, of ...[]V) *trellisv1.Axis {
	return trellisv1.AxisOf(rapid.SampledFrom(of).Draw(t, name)...)
}

// drawSpec draws the spec of a program's study: one or two grids, conditions and budgets.
func drawSpec(t *rapid.T) *trellisv1.StudySpec {
	spec := &trellisv1.StudySpec{
		Name:    "s",
		Program: &trellisv1.Program{Command: []string{"x"}, Prefix: rapid.Bool().Draw(t, "prefix"), Deterministic: true},
		Objective: &trellisv1.Objective{
			Metric: "x", Direction: rapid.SampledFrom([]trellisv1.Direction{
				trellisv1.Direction_DIRECTION_MINIMIZE, trellisv1.Direction_DIRECTION_MAXIMIZE,
			}).Draw(t, "direction"),
		},
		Seeds: axisFrom(t, "seeds", []int{1}, []int{3, 1}),
		Order: rapid.SampledFrom([]trellisv1.Order{
			trellisv1.Order_ORDER_LONGEST, trellisv1.Order_ORDER_RANDOM, trellisv1.Order_ORDER_AS_WRITTEN,
		}).Draw(t, "order"),
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "grids") {
		axes := map[string]*trellisv1.Axis{
			"lr":         axisFrom(t, "lr", []float64{0.1}, []float64{0.3, 0.1, 0.2}, []float64{0.5, 0.25}),
			"optimizer":  axisFrom(t, "optimizer", []string{"sgd", "adam"}, []string{"rms"}),
			"size":       axisFrom(t, "size", []int{8, 2, 4}, []int{1, 2}),
			"max_epochs": axisFrom(t, "epochs", []int{2}, []int{1, 3}, []int{3, 1, 2}),
		}
		if i == 1 {
			axes["amp"] = trellisv1.AxisOf(true, false)
		}
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: axes})
	}
	if rapid.IntRange(0, 2).Draw(t, "where") == 0 {
		spec.Where = "size != 2 || lr < 0.3"
	}
	if rapid.IntRange(0, 2).Draw(t, "budget") == 0 {
		spec.Budget = &trellisv1.Budget{Trials: rapid.Uint64Range(1, 20).Draw(t, "trials")}
	}
	return spec
}

// draw makes a study of the spec, of which some has been trained. It skips specs that are not valid.
func draw(t *rapid.T, spec *trellisv1.StudySpec) *drawn {
	store, err := results.New()
	ok(t, err)
	d := &drawn{T: t, Store: store, given: map[uint64]given{}}
	if err := store.CreateStudy(d.next(), d.now(), &trellisv1.Study{Name: "s", Numerics: "1", Spec: spec}); err != nil {
		t.Skip(err)
	}
	for _, name := range []string{"a", "b"} {
		ok(t, store.SetWorker(d.next(), d.now(), trajectory.LatestRules, &trellisv1.Worker{
			Name: name, State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1000,
		}))
	}
	for range rapid.IntRange(0, 60).Draw(t, "attempts") {
		runs, err := store.Snapshot().NextRuns(nil, 3)
		ok(t, err)
		if len(runs) == 0 {
			break
		}
		d.attempt(runs[rapid.IntRange(0, len(runs)-1).Draw(t, "run")])
	}
	if spec.Budget == nil && rapid.IntRange(0, 3).Draw(t, "extend") == 0 {
		d.extend()
	}
	return d
}

// extend adds sizes, and longer runs of the first grid.
func (d *drawn) extend() {
	study, err := d.Snapshot().Study(nil, "s")
	ok(d, err)
	spec := proto.CloneOf(study.Spec)
	for i, its := range spec.Grid {
		size := its.Axes["size"]
		size.Integers = append(size.Integers, 16, 3)
		if epochs := its.Axes["max_epochs"]; i == 0 {
			epochs.Integers = append(epochs.Integers, 5)
		}
	}
	command := &trellisv1.ExtendStudyCommand{Study: "s", Spec: spec, Indices: study.Indices}
	trials, runs, next, err := grid.ExpandExtension(study, command)
	ok(d, err)
	_, err = d.ExtendStudy(d.next(), d.now(), "s", results.Extension{
		Indices: study.Indices, NextIndices: next, Spec: spec, KeepDifference: true, Runs: runs, Trials: trials,
	})
	ok(d, err)
}

// attempt gives a run to a worker, which reports some epochs, and ends in one way or another.
func (d *drawn) attempt(run *trellisv1.Run) {
	granted := d.next()
	worker := rapid.SampledFrom([]string{"a", "b"}).Draw(d.T, "worker")
	place, err := d.Snapshot().Place(run)
	ok(d, err)
	for _, err := range d.Grant(granted, d.now(), []*trellisv1.Grant{{Study: "s", Run: run.Id, Worker: worker, Place: &place}}) {
		ok(d, err)
	}
	attempt := results.AttemptNumber(granted, 0)
	until := rapid.Uint32Range(0, run.Parameters.MaxEpochs).Draw(d.T, "until")
	var entries []*trellisv1.RecordCommand_Entry
	if until > 0 {
		series := &trellisv1.Series{}
		for epoch := range until {
			value := float64(rapid.IntRange(-3, 20).Draw(d.T, "value")) / 4
			if rapid.IntRange(0, 9).Draw(d.T, "nan") == 0 {
				value = math.NaN()
			}
			if rapid.IntRange(0, 9).Draw(d.T, "missing") == 0 {
				series.Missing = append(series.Missing, epoch)
				value = 0
			}
			series.Values = append(series.Values, value)
		}
		seconds := make([]float64, until)
		for i := range seconds {
			seconds[i] = 0.25
		}
		entries = append(entries, &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
			Reports: &trellisv1.Reports{
				Study: "s", Run: run.Id, Attempt: attempt, FirstEpoch: 1, Epochs: until, Seconds: seconds,
				Metrics: map[string]*trellisv1.Series{"x": series, "y": {Values: make([]float64, until)}},
			},
		}})
	}
	outcome := &trellisv1.Outcome{Study: "s", Run: run.Id, Attempt: attempt}
	switch how := rapid.IntRange(0, 5).Draw(d.T, "how"); {
	case how == 0:
		outcome = nil
	case how == 1:
		outcome.Result = &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
			Attempt: attempt, Worker: worker, Message: "no",
			Class: rapid.SampledFrom([]trellisv1.FailureClass{
				trellisv1.FailureClass_FAILURE_CLASS_INPUT, trellisv1.FailureClass_FAILURE_CLASS_WORKER,
			}).Draw(d.T, "class"),
		}}
	case until == 0:
		outcome.Result = &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}}
	default:
		outcome.Result = &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
			Epochs: until, StopReason: trellisv1.StopReason_STOP_REASON_EARLY_STOPPING,
		}}
	}
	if outcome != nil {
		entries = append(entries, &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}})
	}
	its := given{run: run.Id, worker: worker, began: granted, epochs: until}
	stale := false
	for _, err := range d.Record(d.next(), d.now(), trajectory.LatestRules, entries) {
		if err != nil {
			d.Log(err)                                        // A second attempt contradicts the first,
			stale = stale || errors.Is(err, results.ErrStale) // or its epochs were all that was missing.
		}
	}
	after, err := d.Snapshot().Run(nil, "s", run.Id)
	ok(d, err)
	if after.Attempt != attempt {
		its.ended = d.index
	}
	// It has also failed if it contradicts an earlier attempt, or lacks the metric.
	its.failed = slices.ContainsFunc(slices.Concat(after.Failures, after.GetAudit().GetFailures()), func(f *trellisv1.Failure) bool { return f.Attempt == attempt })
	if outcome.GetFailure() != nil && !its.failed && !stale {
		d.Fatalf("attempt %d has not failed: %v", attempt, after)
	}
	d.given[attempt] = its
}

// trials are all of the study's, as they are listed.
func (d *drawn) trials(filter string) []*trellisv1.Trial { return d.trialsOf("s", filter) }

func (d *drawn) trialsOf(study, filter string) []*trellisv1.Trial {
	var all []*trellisv1.Trial
	request := &trellisv1.ListTrialsRequest{Study: study, PageSize: 1000, OrderBy: "objective", Filter: filter, Losses: true}
	for {
		page, err := d.Snapshot().ListTrials(request)
		ok(d, err)
		all = append(all, page.Trials...)
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			return all
		}
	}
}

// done are those of them that have results, the best first.
func (d *drawn) done(filter string) (done []*trellisv1.Trial) {
	for _, trial := range d.trials(filter) {
		switch trial.State {
		case trellisv1.TrialState_TRIAL_STATE_SUCCEEDED:
			done = append(done, trial)
		}
	}
	for _, trial := range d.trials(filter) {
		if trial.State == trellisv1.TrialState_TRIAL_STATE_DIVERGED {
			done = append(done, trial)
		}
	}
	return done
}

// filters are some that a request may have.
var filters = []string{
	"", "size >= 4", "optimizer == 'sgd' && seed == 1", "objective < 2.0", "epochs > 1 || lr == 0.1", "index < 5", "1 > 2",
	"max_epochs == 3",
}

func drawFilter(t *rapid.T) string { return rapid.SampledFrom(filters).Draw(t, "filter") }

// readFloat64s and the following read columns.
func readFloat64s(data []byte) []float64 {
	numbers := make([]float64, len(data)/8)
	for i := range numbers {
		numbers[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return numbers
}

func readFloat32s(data []byte) []float32 {
	numbers := make([]float32, len(data)/4)
	for i := range numbers {
		numbers[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return numbers
}

func readUint32s(data []byte) []uint32 {
	numbers := make([]uint32, len(data)/4)
	for i := range numbers {
		numbers[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	return numbers
}

// valueOf is a trial's value of a parameter as a text, or "" if it has none.
func valueOf(trial *trellisv1.Trial, name string) string {
	switch name {
	case "max_epochs":
		return fmt.Sprint(trial.Parameters.MaxEpochs)
	case "seed":
		return fmt.Sprint(trial.Parameters.Seed)
	}
	if value := trial.Parameters.Values[name]; value != nil {
		return value.Written()
	}
	return ""
}

// same says whether two numbers are the same, or neither is one.
func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

// objectiveOf is a trial's objective, or NaN.
func objectiveOf(trial *trellisv1.Trial) float64 {
	if trial.Objective == nil || math.IsInf(*trial.Objective, 0) {
		return math.NaN()
	}
	return *trial.Objective
}
