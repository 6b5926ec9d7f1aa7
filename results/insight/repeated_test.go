package insight

import (
	"math"
	"slices"
	"sync"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/trajectory"
)

// TestRepeatedFollows: whoever asks gets the samples of the state of the study that is asked about, in whatever order states are
// asked about, and at the same time.
func TestRepeatedFollows(t *testing.T) {
	store, err := results.New()
	ok(t, err)
	s := &studyStore{TB: t, Store: store}
	spec := seedsSpec(3, 1, 2)
	spec.Grid = []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"latent_dim": trellisv1.AxisOf(9, 4, 6, 2, 3, 5, 8), "learning_rate": trellisv1.AxisOf(1e-3, 1e-4, 1e-2, 2e-3),
		"weight_decay": trellisv1.AxisOf(0), "batch_size": trellisv1.AxisOf(64), "max_epochs": trellisv1.AxisOf(1, 2),
	}}}
	spec.Name, spec.Model, spec.Data = "s", "synthetic", ""
	ok(t, store.CreateStudy(s.next(), s.now(), &trellisv1.Study{Name: "s", Spec: spec, Numerics: "1"}))
	ok(t, store.SetWorker(s.next(), s.now(), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1000,
	}))
	states := []*results.Snapshot{store.Snapshot()}
	for n := 0; ; {
		runs, err := store.Snapshot().NextRuns(nil, 9)
		ok(t, err)
		if len(runs) == 0 {
			break
		}
		var outcomes []outcome
		for _, run := range runs {
			n++
			loss := 1 / float64(n)
			if n%20 == 0 {
				loss = math.NaN()
			}
			outcomes = append(outcomes, outcome{run: run.Id, losses: []float64{1, loss}})
		}
		s.train(outcomes)
		states = append(states, store.Snapshot())
	}
	check := func(snapshot *results.Snapshot) {
		study, err := snapshot.Study(nil, "s")
		ok(t, err)
		table, err := repeatedOf(snapshot, study)
		ok(t, err)
		if table == nil {
			t.Fatal("the configurations don't have the same seeds")
		}
		samples, known, err := table.follow(snapshot, study)
		ok(t, err)
		all, err := configurationsOf(snapshot, study)
		ok(t, err)
		if len(all) != len(samples) {
			t.Fatalf("%d samples of %d configurations", len(samples), len(all))
		}
		places := map[uint32]int{}
		for place, seed := range table.planned {
			places[seed] = place
		}
		for i, its := range all {
			want := its.sample(places)
			same := len(want) == len(samples[i]) && (len(want) == 0 || known[i].Finite == want.Finite())
			for k := range min(len(want), len(samples[i])) {
				a, b := want[k], samples[i][k]
				same = same && a.Place == b.Place && (a.Objective == b.Objective || math.IsNaN(a.Objective) && math.IsNaN(b.Objective))
			}
			if !same {
				t.Errorf("configuration %d has %v, want %v", i, samples[i], want)
			}
		}
	}
	for _, snapshot := range states {
		check(snapshot)
	}
	for _, snapshot := range slices.Backward(states) {
		check(snapshot)
	}
	var all sync.WaitGroup
	for _, snapshot := range states {
		all.Go(func() { check(snapshot) })
	}
	all.Wait()
}
