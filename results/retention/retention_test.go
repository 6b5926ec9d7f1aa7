package retention

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/chart"
	"trellis/results/trajectory"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// timeOf is the time of a command.
func timeOf(index uint64) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Add(time.Duration(index) * time.Second))
}

// trained returns a store with the completed study s of two learning rates and two seeds, and the runs' ids by their
// losses. Each run has a checkpoint. Of the configurations, 0.1 has the best mean, and of the trials, one of 0.2 has
// the best loss.
func trained(t *testing.T) (*results.Store, map[float64]string) {
	t.Helper()
	store, err := results.New()
	ok(t, err)
	ok(t, store.CreateStudy(1, timeOf(1), &trellisv1.Study{Name: "s", Numerics: "1", Spec: &trellisv1.StudySpec{
		Name: "s", Seeds: trellisv1.AxisOf(1, 2), Order: trellisv1.Order_ORDER_AS_WRITTEN,
		Program:   &trellisv1.Program{Command: []string{"x"}, Deterministic: true},
		Objective: &trellisv1.Objective{Metric: "x", Direction: trellisv1.Direction_DIRECTION_MINIMIZE},
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"lr": trellisv1.AxisOf(0.1, 0.2), "max_epochs": trellisv1.AxisOf(1),
		}}},
	}}))
	ok(t, store.SetWorker(2, timeOf(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 10,
	}))
	next, err := store.Snapshot().NextRuns(nil, 10)
	ok(t, err)
	losses := map[float64][]float64{0.1: {0.5, 0.6}, 0.2: {0.25, 5}}
	runs := map[float64]string{}
	for i, run := range next {
		granted := uint64(10 + 2*i)
		for _, err := range store.Grant(granted, timeOf(granted), []*trellisv1.Grant{{Study: "s", Run: run.Id, Worker: "w"}}) {
			ok(t, err)
		}
		loss := losses[run.Parameters.Numeric("lr")][run.Parameters.Seed-1]
		runs[loss] = run.Id
		attempt := results.AttemptNumber(granted, 0)
		entries := []*trellisv1.RecordCommand_Entry{
			{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: &trellisv1.Reports{
				Study: "s", Run: run.Id, Attempt: attempt, FirstEpoch: 1, Epochs: 1, Seconds: []float64{0.25},
				Metrics: map[string]*trellisv1.Series{"x": {Values: []float64{loss}}},
			}}},
			{Entry: &trellisv1.RecordCommand_Entry_Checkpoint{Checkpoint: &trellisv1.CheckpointReport{
				Study: "s", Run: run.Id, Attempt: attempt, Checkpoint: &trellisv1.Checkpoint{
					Epoch: 1, Sha256: strings.Repeat(string(rune('a'+i)), 64), Size: 100, BestEpoch: 1, Program: true,
				},
			}}},
			{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: &trellisv1.Outcome{
				Study: "s", Run: run.Id, Attempt: attempt, Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
					Epochs: 1, StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS,
				}},
			}}},
		}
		for _, err := range store.Record(granted+1, timeOf(granted+1), trajectory.LatestRules, entries) {
			ok(t, err)
		}
	}
	if len(runs) != 4 {
		t.Fatalf("runs %v", runs)
	}
	return store, runs
}

// Of several seeds, the best trial is one of the configuration with the best mean. Another study that starts from the
// study starts from the trial with the best result. Both keep their weights.
func TestKeptRuns(t *testing.T) {
	store, runs := trained(t)
	uses, err := Plan(store.Snapshot(), []string{"s"})
	ok(t, err)
	if len(uses) != 1 || uses[0].Checkpoints != 2 || uses[0].Files != 2 || uses[0].Bytes != 200 ||
		!slices.Equal(uses[0].KeptRuns, []string{runs[0.5], runs[0.25]}) {
		t.Errorf("plan %v, want to keep %s and %s", uses, runs[0.5], runs[0.25])
	}
}

// Deleting checkpoints a day after the end changes nothing of when runs began and ended.
func TestChartsStay(t *testing.T) {
	store, runs := trained(t)
	charts := func() (*trellisv1.GetHistoryResponse, *trellisv1.GetTimeLineResponse) {
		history, err := chart.History(store.Snapshot(), &trellisv1.GetHistoryRequest{Study: "s"})
		ok(t, err)
		line, err := chart.TimeLine(store.Snapshot(), &trellisv1.GetTimeLineRequest{Study: "s", To: timeOf(100)})
		ok(t, err)
		return history, line
	}
	history, line := charts()
	before, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	_, err = store.DeleteCheckpoints(86400, timeOf(86400), &trellisv1.DeleteCheckpointsCommand{
		Study: "s", CreateIndex: before.CreateIndex, ModifyIndex: before.ModifyIndex, KeepRuns: []string{runs[0.5]},
	})
	ok(t, err)
	after, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	if after.ModifyIndex != 86400 {
		t.Errorf("the study has changed with command %d", after.ModifyIndex)
	}
	nowHistory, nowLine := charts()
	history.Basis.ModifyIndex, line.Basis.ModifyIndex = after.ModifyIndex, after.ModifyIndex
	if !proto.Equal(nowHistory, history) {
		t.Errorf("the history was\n%v\nand is\n%v", history, nowHistory)
	}
	if !proto.Equal(nowLine, line) {
		t.Errorf("the time line was\n%v\nand is\n%v", line, nowLine)
	}
}
