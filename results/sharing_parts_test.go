package results

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// sharesAtMost sets how much one command shares.
func sharesAtMost(t *testing.T, most int) {
	before := sharedAtOnce
	sharedAtOnce = most
	t.Cleanup(func() { sharedAtOnce = before })
}

// TestSharingInParts: a study that shares in parts ends up with what one that shares at once has. Until then, no run is
// leased of which another study has more.
func TestSharingInParts(tb *testing.T) {
	sharesAtMost(tb, 100)
	drawFew(tb)
	rapid.Check(tb, func(t *rapid.T) {
		trained := rapid.IntRange(70, 300).Draw(t, "trained")
		begun := rapid.IntRange(0, 5).Draw(t, "begun")
		donor := indexedStudy("donor", 300, 3)
		taker := indexedStudy("taker", 400, 3)
		taker.Spec.Grid[0].Axes["max_epochs"] = trellisv1.AxisOf(rapid.SliceOfNDistinct(rapid.IntRange(1, 5), 1, 3,
			rapid.ID).Draw(t, "epochs")...)
		taker.Spec.Order = rapid.SampledFrom([]trellisv1.Order{0, trellisv1.Order_ORDER_RANDOM}).Draw(t, "order")
		taker.Fresh = rapid.IntRange(0, 9).Draw(t, "fresh") == 0
		atOnce, inParts := newStore(tb), newStore(tb)
		for _, store := range []*Store{atOnce, inParts} {
			ok(tb, store.CreateStudy(1, at(1), donor))
			ok(tb, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
				Name: "worker", State: lifecycle.WorkerReady, Slots: 1000,
			}))
			trainNext(tb, store, "donor", 3, trained, 3)
			next, err := store.Snapshot().NextRuns(nil, begun)
			ok(tb, err)
			for i, run := range next {
				attempt := grant1(tb, store, uint64(100+2*i), "donor", run.Id, "worker")
				record(tb, store, uint64(101+2*i), columnEntry("donor", run.Id, attempt, 1, []float64{1}, []float64{1}, nil),
					checkpointEntry("donor", run.Id, attempt, 1, digest("a")), returnEntry("donor", run.Id, attempt))
			}
		}
		ok(tb, atOnce.CreateStudy(500, at(500), taker))
		later := proto.CloneOf(taker)
		later.Sharing = &trellisv1.Sharing{}
		ok(tb, inParts.CreateStudy(500, at(500), later))
		parts := 0
		for index := uint64(501); ; index++ {
			study, err := inParts.Snapshot().Study(nil, "taker")
			ok(tb, err)
			checkNothingIsTrainedAgain(t, inParts, study)
			if study.Sharing == nil {
				break
			}
			parts++
			next := study.Sharing.NextSection
			for _, wrong := range []error{
				inParts.ShareRuns(index, at(index), "taker", study.CreateIndex, next+1),
				inParts.ShareRuns(index, at(index), "taker", study.CreateIndex+1, next),
			} {
				if !errors.Is(wrong, ErrIllegalMove) {
					t.Fatalf("error %v", wrong)
				}
			}
			ok(tb, inParts.ShareRuns(index, at(index), "taker", study.CreateIndex, next))
			checkIndexes(t, inParts.Snapshot())
		}
		if (parts < 2) != taker.Fresh {
			t.Fatalf("shared in %d parts", parts)
		}
		compareStudies(t, tb, atOnce, inParts, "taker")
	})
}

// checkNothingIsTrainedAgain fails if a run may be leased of which another study has more.
func checkNothingIsTrainedAgain(t *rapid.T, store *Store, study *trellisv1.Study) {
	snapshot := store.Snapshot()
	next, err := snapshot.NextRuns(nil, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range next {
		best := knownOf(t, snapshot, run)
		if run.Study == study.Name && !study.Fresh && run.Epochs < min(best.GetEpochs(), run.Parameters.MaxEpochs) {
			t.Fatalf("run %v is next, and study %s has %d epochs of it", run, best.Study, best.Epochs)
		}
	}
	if study.Sharing == nil {
		return
	}
	c, err := snapshot.catalog(study.Name)
	if err != nil {
		t.Fatal(err)
	}
	place := min(study.Sharing.NextSection*sectionSize, c.BaseRuns()-1)
	grant := &trellisv1.Grant{Study: study.Name, Run: c.Untouched(place).Run.Id, Worker: "worker", Place: &place}
	if err := store.Grant(499, at(499), []*trellisv1.Grant{grant})[0]; !errors.Is(err, ErrIllegalMove) {
		t.Fatalf("a run that is not shared yet is granted: %v", err)
	}
}

// knownOf is what all studies that share what they have know of a run.
func knownOf(t interface {
	Helper()
	Fatal(args ...any)
}, snapshot *Snapshot, run *trellisv1.Run,
) *trellisv1.Run {
	t.Helper()
	sharing, err := snapshot.Sharing()
	if err != nil {
		t.Fatal(err)
	}
	known, err := snapshot.Known(run, sharing)
	if err != nil {
		t.Fatal(err)
	}
	if known == nil {
		return nil
	}
	return known.Run
}

// compareStudies wants the same of a study in two stores, but for when something changed.
func compareStudies(t *rapid.T, tb *testing.T, a, b *Store, name string) {
	served := func(store *Store) (runs []*trellisv1.Run) {
		all, err := store.Snapshot().Served(name)
		ok(tb, err)
		for its := range all {
			run := trajectory.CopyRun(its.Run)
			run.ModifyIndex = 0
			runs = append(runs, run)
		}
		return runs
	}
	wanted := served(a)
	for i, run := range served(b) {
		if !proto.Equal(run, wanted[i]) {
			t.Fatalf("run %d is\n%v\nwant\n%v", i, run, wanted[i])
		}
	}
	one, err := a.Snapshot().Study(nil, name)
	ok(tb, err)
	other, err := b.Snapshot().Study(nil, name)
	ok(tb, err)
	p, q := copyProgress(one.Progress), copyProgress(other.Progress)
	p.SecondsShared, q.SecondsShared = 0, 0 // Sums in another order.
	if !proto.Equal(p, q) || one.State != other.State {
		t.Fatalf("the study is\n%v\nwant\n%v", other, one)
	}
	digest, err := a.Snapshot().Digest(name)
	ok(tb, err)
	if got, err := b.Snapshot().Digest(name); err != nil || got != digest {
		t.Fatalf("digest %s, %v; want %s", got, err, digest)
	}
}

// TestSharingALargeStudy: no command that shares a large trained study takes long.
func TestSharingALargeStudy(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("trains a large study")
	}
	const runs = 30_000
	store := newStore(t)
	ok(t, store.CreateStudy(1, at(1), indexedStudy("large", runs, 10)))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady, Slots: runs,
	}))
	trainNext(t, store, "large", 3, runs, 10)
	same := indexedStudy("same", runs, 10)
	same.Sharing = &trellisv1.Sharing{}
	longest, all, commands := time.Duration(0), time.Duration(0), 0
	index := uint64(1_000_000)
	step := func(do func() error) {
		began := processorTime()
		ok(t, do())
		took := processorTime() - began
		longest, all, commands = max(longest, took), all+took, commands+1
		index++
	}
	step(func() error { return store.CreateStudy(index, at(index), same) })
	t.Logf("creating took %v", longest)
	for {
		study, err := store.Snapshot().Study(nil, "same")
		ok(t, err)
		if study.Sharing == nil {
			if study.State != lifecycle.StudyCompleted || study.Progress.EpochsShared != runs*10 {
				t.Fatalf("the study is %v", study)
			}
			break
		}
		step(func() error {
			return store.ShareRuns(index, at(index), "same", study.CreateIndex, study.Sharing.NextSection)
		})
	}
	t.Logf("%d commands, %v in all, at most %v of processors", commands, all, longest)
	if longest > 500*time.Millisecond || longest > all/4 {
		t.Errorf("a command took %v of %v", longest, all)
	}
}
