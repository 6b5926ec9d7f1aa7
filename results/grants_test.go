package results

import (
	"errors"
	"math"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestGrantTooMany: more grants than attempt numbers are refused, all of them, and nothing changes.
func TestGrantTooMany(t *testing.T) {
	store := newStore(t)
	index := createLarge(t, store, "s", MaxGrants+1, 1)
	grants := make([]*trellisv1.Grant, MaxGrants+1)
	for i := range grants {
		grants[i] = &trellisv1.Grant{Study: "s", Run: largeRunID(i), Worker: "worker"}
	}
	before := mustHash(t, store.Snapshot())
	for i, err := range store.Grant(index, at(index), grants) {
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("grant %d of too many: %v", i, err)
		}
	}
	if mustHash(t, store.Snapshot()) != before {
		t.Error("refused grants have changed something")
	}
	attempts := map[uint64]bool{}
	for i, err := range store.Grant(index, at(index), grants[:MaxGrants]) {
		ok(t, err)
		run, err := store.Snapshot().Run(nil, "s", grants[i].Run)
		ok(t, err)
		attempts[run.Attempt] = true
	}
	if len(attempts) != MaxGrants || attempts[AttemptNumber(index+1, 0)] {
		t.Errorf("%d numbers for %d attempts", len(attempts), MaxGrants)
	}
}

// TestSeconds: what a faulty worker says of its time spoils no sum.
func TestSeconds(t *testing.T) {
	store := newStore(t)
	index := createLarge(t, store, "s", 1, 9)
	attempt := grant1(t, store, index, "s", largeRunID(0), "worker")
	losses := []float64{1, 1, 1, 1, 1, 1}
	entry := columnEntry("s", largeRunID(0), attempt, 1, losses, losses, nil)
	entry.GetReports().Seconds = []float64{0.25, math.NaN(), math.Inf(1), -1, 1e300, 0.5}
	record(t, store, index+1, entry)
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	if study.Progress.TrainingSeconds != 0.75 {
		t.Errorf("%v seconds of training, want 0.75", study.Progress.TrainingSeconds)
	}
}
