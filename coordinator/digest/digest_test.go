package digest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// testStore has studies of the model synthetic, which nobody trains.
type testStore struct {
	*testing.T
	store *results.Store
	index uint64
}

func newStore(t *testing.T) *testStore {
	t.Helper()
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	return &testStore{T: t, store: store}
}

func (s *testStore) change(change func(index uint64) error) {
	s.Helper()
	s.index++
	if err := change(s.index); err != nil {
		s.Fatal(err)
	}
}

func (s *testStore) create(name string, runs int) {
	s.Helper()
	spec := grid.WithDefaults(&trellisv1.StudySpec{
		Name: name, Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf(4),
			"learning_rate": {Linear: &trellisv1.Range{From: 1e-3, To: 1, Count: 300}},
			"weight_decay":  {Linear: &trellisv1.Range{From: 0, To: 1, Count: uint32(runs / 300)}},
			"max_epochs":    trellisv1.AxisOf(2),
		}}},
	})
	s.change(func(index uint64) error {
		return s.store.CreateStudy(index, timestamppb.Now(), &trellisv1.Study{Name: name, Spec: spec, Numerics: "test"})
	})
}

func (s *testStore) cancel(name string) {
	s.Helper()
	s.change(func(index uint64) error {
		return s.store.SetStudyState(index, timestamppb.Now(), name, trellisv1.StudyState_STUDY_STATE_CANCELED)
	})
}

// Digests are computed of large studies that have ended, and of no others.
func TestDigestsOfLargeStudies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		has := func(name string) bool {
			t.Helper()
			time.Sleep(2 * interval)
			synctest.Wait()
			snapshot := s.store.Snapshot()
			study, err := snapshot.Study(nil, name)
			if err != nil {
				t.Fatal(err)
			}
			return snapshot.HasDigest(study)
		}
		s.create("large", 66_000)
		s.create("small", 600)
		s.cancel("small")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			Compute(ctx, s.store, slog.New(slog.DiscardHandler))
		}()
		time.Sleep(delay)
		if has("large") || has("small") {
			t.Fatal("a digest is computed that nobody waits for long")
		}
		s.cancel("large")
		if !has("large") || has("small") {
			t.Fatal("the digest of the large study is not computed, or that of the small one is")
		}
		stop()
		<-ended
	})
}

// A study whose digest can't be computed is tried again less and less often. Others are not delayed by it,
// nor is another that is given its name.
func TestFailuresAreOfOneStudy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.create("damaged", 66_000)
		s.cancel("damaged")
		start, failing := time.Now(), true
		var tries []time.Duration
		c := &computer{logger: slog.New(slog.DiscardHandler), failures: map[version]*failure{}}
		c.digest = func(snapshot *results.Snapshot, study *trellisv1.Study) error {
			if study.GetName() == "damaged" {
				tries = append(tries, time.Since(start))
				if failing {
					return errors.New("damaged")
				}
			}
			_, err := snapshot.Digest(study.GetName())
			return err
		}
		look := func(pause time.Duration) {
			for end := time.Now().Add(pause); time.Now().Before(end); time.Sleep(interval) {
				c.compute(s.store.Snapshot())
			}
		}
		look(40 * time.Second)
		want := []time.Duration{0, 2 * time.Second, 6 * time.Second, 14 * time.Second, 30 * time.Second}
		if !slices.Equal(tries, want) {
			t.Errorf("it was tried after %v, want %v", tries, want)
		}
		look(2 * time.Hour)
		if wait := tries[len(tries)-1] - tries[len(tries)-2]; wait != longest {
			t.Errorf("after two hours it waits %v, want %v", wait, longest)
		}
		s.create("sound", 66_000)
		s.cancel("sound")
		before := len(tries)
		look(interval)
		snapshot := s.store.Snapshot()
		if sound, err := snapshot.Study(nil, "sound"); err != nil || !snapshot.HasDigest(sound) {
			t.Errorf("another study's digest is delayed: %v", err)
		}
		if len(tries) > before+1 {
			t.Errorf("it was tried %d times in %v", len(tries)-before, interval)
		}
		look(longest)
		failing = false
		s.change(func(index uint64) error { return s.store.DeleteStudy(index, "damaged", 0, 0) })
		s.create("damaged", 66_000)
		s.cancel("damaged")
		before = len(tries)
		look(10 * interval)
		if more := len(tries) - before; more != 1 || len(c.failures) != 0 {
			t.Errorf("once there is another of its name, it was tried %d times in %v, and %d are remembered", more,
				10*interval, len(c.failures))
		}
	})
}

// It looks every second.
func TestLooksEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), delay+10*interval+interval/2)
		defer stop()
		looks := 0
		repeat(ctx, func() { looks++ })
		if looks != 11 {
			t.Errorf("it looked %d times in %v after the first, want 10", looks-1, 10*interval)
		}
	})
}
