package api

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// A watch of a large study begins with the runs that are being trained and the last to change, unless all are asked for.
func TestALargeWatchBeginsWithTheLatestRuns(t *testing.T) {
	const runs, held = firstRuns + 200, 50
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	at := func(index uint64) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Add(time.Duration(index) * time.Second))
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	linear := &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: runs, Count: runs}}
	check(store.CreateStudy(1, at(1), &trellisv1.Study{Name: "s", Numerics: "1", Spec: &trellisv1.StudySpec{
		Name: "s", Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(1), "learning_rate": linear, "weight_decay": trellisv1.AxisOf(0),
			"max_epochs": trellisv1.AxisOf(2), "batch_size": trellisv1.AxisOf(256),
		}}},
	}}))
	index := uint64(1)
	worker := func(state trellisv1.WorkerState) {
		index++
		check(store.SetWorker(index, at(index), trajectory.LatestRules, &trellisv1.Worker{
			Name: "w", State: state, Slots: runs, Machine: "m",
		}))
	}
	grant := func(n int) {
		next, err := store.Snapshot().NextRuns(nil, n)
		check(err)
		index++
		var grants []*trellisv1.Grant
		for _, run := range next {
			grants = append(grants, &trellisv1.Grant{Study: "s", Run: run.Id, Worker: "w", Place: &run.Place})
		}
		for _, err := range store.Grant(index, at(index), grants) {
			check(err)
		}
	}
	worker(lifecycle.WorkerReady)
	for left := runs; left > 0; left -= 1000 {
		grant(min(left, 1000))
	}
	worker(lifecycle.WorkerLost)
	worker(lifecycle.WorkerReady)
	grant(held)
	snapshot := store.Snapshot()
	study, err := snapshot.Study(nil, "s")
	check(err)
	for _, test := range []struct {
		since   uint64
		all     bool
		atLeast int
		atMost  int
		partial bool
	}{
		{0, false, lastRuns, lastRuns + held, true},
		{0, true, runs, runs, false},
		{study.CreateIndex, false, runs, runs, false},
		{index - 1, false, held, held, false},
	} {
		got, partial, err := changedRuns(snapshot, study, test.since, test.all)
		check(err)
		leased := 0
		for _, run := range got {
			if run.State == lifecycle.RunLeased {
				leased++
			}
		}
		if len(got) < test.atLeast || len(got) > test.atMost || partial != test.partial || leased != held {
			t.Errorf("since %d, all: %v: %d runs, %d of which are trained, partial: %v", test.since, test.all, len(got), leased,
				partial)
		}
	}
}

// A watch has its forecast before it takes a turn: others don't wait for it meanwhile.
func TestAWatchForecastsWithoutATurn(t *testing.T) {
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"older", "s"} {
		err := store.CreateStudy(uint64(i+1), timestamppb.Now(), &trellisv1.Study{Name: name, Numerics: "1", Spec: &trellisv1.StudySpec{
			Name: name, Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(i + 1), "learning_rate": trellisv1.AxisOf(1e-3), "weight_decay": trellisv1.AxisOf(0),
				"max_epochs": trellisv1.AxisOf(2), "batch_size": trellisv1.AxisOf(256),
			}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	snapshot := store.Snapshot()
	study, err := snapshot.Study(nil, "s")
	if err != nil {
		t.Fatal(err)
	}
	var asked, taken, released bool
	// A forecast asks whether the older study, which comes first, waits.
	forecasts := forecast.NewMaker(slog.New(slog.DiscardHandler), func(string) bool {
		asked = true
		if taken {
			t.Error("a forecast is made in a watch's turn")
		}
		return false
	})
	turn := func(context.Context) (func(), error) {
		taken = true
		return func() { released = true }, nil
	}
	s := studyService{memory: nothing{}, forecasts: forecasts, turns: Turns{Watch: turn}}
	changed, err := s.changes(t.Context(), snapshot, study, 0, false)
	if err != nil || changed.study.GetForecast() == nil || !asked || !taken || !released {
		t.Errorf("the study is %v, %v; a forecast was made: %v, with a turn: %v, that ended: %v", changed, err, asked, taken, released)
	}
}

// nothing is a memory in which no study waits.
type nothing struct{ Memory }

func (nothing) WaitingFor(string) *trellisv1.WaitingFor { return nil }
