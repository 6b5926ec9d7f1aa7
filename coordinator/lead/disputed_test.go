package lead

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

// A study waits for another machine if all that is left of it are runs that no READY worker can decide. Runs that have
// ended, disputed or not, are not left.
func TestAwaitsMachine(t *testing.T) {
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	log := &testLog{T: t, ctx: t.Context(), store: store, wake: func(*trellisv1.Command, any) {}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	waits := func(when string, want bool) {
		t.Helper()
		got, err := awaitsMachine(store.Snapshot(), "s")
		must(err)
		if got != want {
			t.Errorf("%s: waits %t, want %t", when, got, want)
		}
	}
	set := func(name string, state trellisv1.WorkerState) {
		t.Helper()
		log.index++
		must(store.SetWorker(log.index, timestamppb.Now(), trajectory.LatestRules,
			&trellisv1.Worker{Name: name, State: state, Slots: 4}))
	}
	for _, name := range []string{"a", "b", "c"} {
		set(name, trellisv1.WorkerState_WORKER_STATE_READY)
	}
	spec := grid.WithDefaults(&trellisv1.StudySpec{Name: "s", Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"latent_dim":    trellisv1.AxisOf[int](4, 8),
		"learning_rate": trellisv1.AxisOf[float64](1e-3),
		"max_epochs":    trellisv1.AxisOf[int](2),
	}}}})
	_, err = log.ProposePatiently(t.Context(), &trellisv1.Command{Change: &trellisv1.Command_CreateStudy{
		CreateStudy: &trellisv1.CreateStudyCommand{Spec: spec},
	}})
	must(err)
	waits("nothing has begun", false)
	runs, err := store.Snapshot().NextRuns(nil, 2)
	must(err)
	loss := 0.0
	// report has a worker report another first epoch of a run than all before.
	report := func(run, worker string) {
		t.Helper()
		loss++
		log.index++
		must(store.Grant(log.index, timestamppb.Now(), []*trellisv1.Grant{{Study: "s", Run: run, Worker: worker}})[0])
		attempt := results.AttemptNumber(log.index, 0)
		reports := &trellisv1.Reports{
			Study: "s", Run: run, Attempt: attempt, FirstEpoch: 1,
			TrainLoss: []float64{loss}, ValidationLoss: []float64{loss}, Seconds: []float64{1},
		}
		returned := &trellisv1.Outcome{
			Study: "s", Run: run, Attempt: attempt,
			Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}},
		}
		log.index++
		answers := store.Record(log.index, timestamppb.Now(), trajectory.LatestRules, []*trellisv1.RecordCommand_Entry{
			{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reports}},
			{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: returned}},
		})
		if answers[0] != nil && !errors.Is(answers[0], results.ErrConflict) {
			t.Fatal(answers)
		}
	}
	ended, open := runs[0].GetId(), runs[1].GetId()
	report(ended, "a")
	for range trajectory.MaxConflicts {
		report(ended, "c")
	}
	waits("one has failed, disputed, and another is left", false)
	report(open, "a")
	report(open, "b")
	waits("c can decide it", false)
	set("c", trellisv1.WorkerState_WORKER_STATE_LOST)
	waits("a and b can't, and what b could decide has ended", true)
	set("c", trellisv1.WorkerState_WORKER_STATE_READY)
	waits("c is back", false)
	log.index++
	must(store.Grant(log.index, timestamppb.Now(), []*trellisv1.Grant{{Study: "s", Run: open, Worker: "c"}})[0])
	set("a", trellisv1.WorkerState_WORKER_STATE_GONE)
	waits("c trains it", false)
}
