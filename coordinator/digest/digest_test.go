package digest

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// Digests are computed of large studies that have ended, and of no others.
func TestDigestsOfLargeStudies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := results.New()
		if err != nil {
			t.Fatal(err)
		}
		index := uint64(0)
		change := func(change func(index uint64) error) {
			t.Helper()
			index++
			if err := change(index); err != nil {
				t.Fatal(err)
			}
		}
		create := func(name string, runs int) {
			t.Helper()
			spec := grid.WithDefaults(&trellisv1.StudySpec{
				Name: name, Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
					"latent_dim":    trellisv1.AxisOf(4),
					"learning_rate": {Linear: &trellisv1.Range{From: 1e-3, To: 1, Count: 300}},
					"weight_decay":  {Linear: &trellisv1.Range{From: 0, To: 1, Count: uint32(runs / 300)}},
					"max_epochs":    trellisv1.AxisOf(2),
				}}},
			})
			change(func(index uint64) error {
				return store.CreateStudy(index, timestamppb.Now(), &trellisv1.Study{Name: name, Spec: spec, Numerics: "test"})
			})
		}
		cancel := func(name string) {
			t.Helper()
			change(func(index uint64) error {
				return store.SetStudyState(index, timestamppb.Now(), name, trellisv1.StudyState_STUDY_STATE_CANCELED)
			})
		}
		has := func(name string) bool {
			t.Helper()
			time.Sleep(2 * interval)
			synctest.Wait()
			snapshot := store.Snapshot()
			study, err := snapshot.Study(nil, name)
			if err != nil {
				t.Fatal(err)
			}
			return snapshot.HasDigest(study)
		}
		create("large", 66_000)
		create("small", 600)
		cancel("small")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			Compute(ctx, store, slog.New(slog.DiscardHandler))
		}()
		time.Sleep(delay)
		if has("large") || has("small") {
			t.Fatal("a digest is computed that nobody waits for long")
		}
		cancel("large")
		if !has("large") || has("small") {
			t.Fatal("the digest of the large study is not computed, or that of the small one is")
		}
		stop()
		<-ended
	})
}
