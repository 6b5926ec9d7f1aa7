package digest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
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

// After an error it waits longer and longer, and no longer than it has to once there is none.
func TestErrorsAreRetriedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var looks []time.Duration
		start, failing := time.Now(), true
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			repeat(ctx, func() error {
				mu.Lock()
				defer mu.Unlock()
				looks = append(looks, time.Since(start)-delay)
				if failing {
					return errors.New("damaged")
				}
				return nil
			}, slog.New(slog.DiscardHandler))
		}()
		// after returns when it has looked, after some time.
		after := func(pause time.Duration) []time.Duration {
			time.Sleep(pause)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(looks)
		}
		want := []time.Duration{0, 2 * time.Second, 6 * time.Second, 14 * time.Second, 30 * time.Second}
		if got := after(delay + 40*time.Second); !slices.Equal(got, want) {
			t.Errorf("it looked after %v, want %v", got, want)
		}
		got := after(2 * time.Hour)
		if wait := got[len(got)-1] - got[len(got)-2]; wait != longest {
			t.Errorf("after two hours it waits %v, want %v", wait, longest)
		}
		mu.Lock()
		failing = false
		mu.Unlock()
		before := len(after(longest))
		if more := len(after(10*interval)) - before; more != 10 {
			t.Errorf("it looked %d times in %v after the error has gone, want 10", more, 10*interval)
		}
		stop()
		<-ended
	})
}
