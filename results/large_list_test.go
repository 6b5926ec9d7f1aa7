package results

import (
	"fmt"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// newHalfTrained returns a store with a study of so many points, at least 1000, half of which are trained for two epochs.
func newHalfTrained(tb testing.TB, points int) *Store {
	tb.Helper()
	store := newStore(tb)
	linear := func(to float64, count int) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: to, Count: uint32(count)}}
	}
	spec := &trellisv1.StudySpec{Name: "s", Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"latent_dim": linear(float64(points/1000), points/1000), "learning_rate": linear(2, 100), "weight_decay": linear(3, 10),
		"max_epochs": trellisv1.AxisOf(2), "batch_size": trellisv1.AxisOf(256),
	}}}}
	ok(tb, store.CreateStudy(1, at(1), &trellisv1.Study{Name: "s", Spec: spec, Numerics: "1"}))
	const atOnce = 1000
	ok(tb, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: lifecycle.WorkerReady, Slots: atOnce,
	}))
	for trained := 0; trained < points/2; {
		runs, err := store.Snapshot().NextRuns(nil, min(atOnce, points/2-trained))
		ok(tb, err)
		index := uint64(3 + 2*trained)
		var grants []*trellisv1.Grant
		var entries []*trellisv1.RecordCommand_Entry
		for i, run := range runs {
			grants = append(grants, &trellisv1.Grant{Study: "s", Run: run.Id, Worker: "w", Place: &run.Place})
			loss := 1 + float64(uint32(run.Place*2654435761)%1000)/1000
			attempt := AttemptNumber(index, i)
			entries = append(entries,
				columnEntry("s", run.Id, attempt, 1, []float64{loss, loss}, []float64{loss, loss / 2}, nil),
				successEntry("s", run.Id, attempt, 2))
		}
		for _, err := range store.Grant(index, at(index), grants) {
			ok(tb, err)
		}
		record(tb, store, index+1, entries...)
		trained += len(runs)
	}
	return store
}

// BenchmarkListLarge measures the first page of a study of a million trials by every kind of column, while half of them are
// trained: first as it is after a restart, and then after a run has been trained in between.
func BenchmarkListLarge(b *testing.B) {
	store := newHalfTrained(b, largeListTrials)
	for _, order := range []string{
		"index", "-index", "objective", "-objective", "latent_dim", "-latent_dim", "learning_rate", "-learning_rate", "weight_decay",
		"max_epochs", "epochs", "-epochs", "state", "-state", "test_loss", "best_epoch",
	} {
		b.Run("order="+order, func(b *testing.B) {
			for b.Loop() {
				page, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s", OrderBy: order})
				if err != nil || page.Total != largeListTrials || len(page.Trials) == 0 {
					b.Fatal(page.GetTotal(), err)
				}
			}
		})
	}
	for _, filter := range []string{
		"latent_dim > 400", "latent_dim == 990 && weight_decay < 2", "learning_rate < 1.02", "objective < 0.51",
		"state == 'succeeded'", "state == 'pending' && learning_rate < 1.5", "learning_rate < 1.5 && objective < 0.7",
		"objective < 0.50001", "objective * 2.0 < learning_rate",
	} {
		for _, order := range []string{"", "objective", "learning_rate", "-index"} {
			b.Run(fmt.Sprintf("filter=%q/order=%s", filter, order), func(b *testing.B) {
				for b.Loop() {
					request := &trellisv1.ListTrialsRequest{Study: "s", Filter: filter, OrderBy: order}
					if _, err := store.Snapshot().ListTrials(request); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
