package results

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// TestExtensionsKeepDifferences if their command says so, and whole specs if it does not, as an old log's.
func TestExtensionsKeepDifferences(t *testing.T) {
	store := newStore(t)
	specs := make([]*trellisv1.StudySpec, 4)
	for i := range specs {
		specs[i] = &trellisv1.StudySpec{Name: "s", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{"latent_dim": trellisv1.AxisOf[uint32]([]uint32{4, 8, 16, 32}[:i+1]...)}}}}
	}
	run, trials := testRun("r0", 4, 0, 3)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s", Spec: specs[0]}, []*trellisv1.Run{run}, trials))
	for i, keepDifference := range []bool{false, true, false} {
		run, trials := testRun(fmt.Sprint("r", i+1), uint32(4<<(i+1)), uint64(i+1), 3)
		_, err := store.ExtendStudy(uint64(i+2), at(uint64(i+2)), "s", Extension{
			Indices: uint64(i + 1), NextIndices: uint64(i + 2), Spec: specs[i+1], KeepDifference: keepDifference,
			Runs: []*trellisv1.Run{run}, Trials: trials,
		})
		ok(t, err)
	}
	stored, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	if whole, differences := len(stored.EarlierSpecs), len(stored.SpecHistory.GetDifferences()); whole != 1 || differences != 2 {
		t.Errorf("%d specs are kept whole and %d as differences, want 1 and 2", whole, differences)
	}
	presented, err := store.Snapshot().Presented(stored)
	ok(t, err)
	for what, earlier := range map[string][]*trellisv1.StudySpec{
		"stored": grid.EarlierSpecs(stored), "presented": presented.EarlierSpecs,
	} {
		if !slices.EqualFunc(earlier, specs[:3], func(a, b *trellisv1.StudySpec) bool { return proto.Equal(a, b) }) {
			t.Errorf("%s: earlier specs %v, want %v", what, earlier, specs[:3])
		}
	}
	if next := (&trellisv1.StudySpec{Name: "s"}); ExtendedSize(stored, next) <= proto.Size(stored)-proto.Size(stored.Spec) {
		t.Error("an extension does not count what it keeps")
	}
}

// TestExtensionThatOnlySettles: a study may be settled by values that its where leaves out all, but only once.
func TestExtensionThatOnlySettles(t *testing.T) {
	specOf := func(dims ...uint32) *trellisv1.StudySpec {
		return &trellisv1.StudySpec{
			Name: "s", Model: "synthetic", Where: "latent_dim < 5", Settle: &trellisv1.Settle{MaxSeeds: 3}, Seeds: trellisv1.AxisOf[uint32](1),
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(dims...), "max_epochs": trellisv1.AxisOf[uint32](2),
			}}},
		}
	}
	store := newStore(t)
	ok(t, store.CreateStudy(1, at(1), &trellisv1.Study{Name: "s", Numerics: "1", Spec: specOf(4)}))
	extend(t, store, 2, 0, Extension{Indices: 1, Spec: specOf(4, 8), Settled: true, Indexed: true, KeepDifference: true})
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	if !study.Settled || study.Progress.Trials != 1 {
		t.Errorf("settled is %v, trials %d", study.Settled, study.Progress.Trials)
	}
	_, err = store.ExtendStudy(3, at(3), "s", Extension{Indices: study.Indices, Spec: specOf(4, 8, 16), Settled: true, Indexed: true})
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v, want that it adds nothing", err)
	}
}

// TestExtensionsSayWhatNetworksHave, if they are given it, as commands of older versions are not.
func TestExtensionsSayWhatNetworksHave(t *testing.T) {
	specOf := func(dims ...uint32) *trellisv1.StudySpec {
		return &trellisv1.StudySpec{
			Name: "s", Model: "synthetic", Seeds: trellisv1.AxisOf[uint32](1), Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(dims...), "max_epochs": trellisv1.AxisOf[uint32](2),
			}}},
		}
	}
	store := newStore(t)
	var study *trellisv1.Study
	var err error
	want := func(memory uint64) {
		t.Helper()
		study, err = store.Snapshot().Study(nil, "s")
		ok(t, err)
		if got := study.GetNetwork().GetMemory(); got != memory {
			t.Errorf("networks of the study take %d, want %d", got, memory)
		}
	}
	ok(t, store.CreateStudy(1, at(1), &trellisv1.Study{
		Name: "s", Numerics: "1", Spec: specOf(4), Network: &trellisv1.ModelSize{Memory: 100},
	}))
	want(100)
	extend(t, store, 2, 1, Extension{Indices: study.Indices, Spec: specOf(4, 8), Indexed: true, Network: &trellisv1.ModelSize{Memory: 200}})
	want(200)
	extend(t, store, 3, 1, Extension{Indices: study.Indices, Spec: specOf(4, 8, 16), Indexed: true})
	want(200)
}

// TestSnapshotOfAStudyWithManyWholeSpecs: what an old log has made of a study, whatever its size, can be stored.
func TestSnapshotOfAStudyWithManyWholeSpecs(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 70 MB")
	}
	store := newStore(t)
	specOf := func(i int) *trellisv1.StudySpec {
		rates := make([]float64, 450_000)
		rates[i] = 1
		return &trellisv1.StudySpec{Name: "s", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{"learning_rate": trellisv1.AxisOf[float64](rates...)}}}}
	}
	run, trials := testRun("r0", 4, 0, 3)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s", Spec: specOf(0)}, []*trellisv1.Run{run}, trials))
	for i := 1; i <= 20; i++ {
		run, trials := testRun(fmt.Sprint("r", i), 4, uint64(i), 3)
		_, err := store.ExtendStudy(uint64(i+1), at(uint64(i+1)), "s", Extension{
			Indices: uint64(i), NextIndices: uint64(i + 1), Spec: specOf(i), Runs: []*trellisv1.Run{run}, Trials: trials,
		})
		ok(t, err)
	}
	var written bytes.Buffer
	_, err := store.Snapshot().WriteTo(&written)
	ok(t, err)
	if written.Len() <= 64<<20 {
		t.Fatalf("the snapshot has only %d bytes", written.Len())
	}
	want, err := store.Snapshot().Hash()
	ok(t, err)
	restored := newStore(t)
	ok(t, restored.Restore(&written))
	if got, err := restored.Snapshot().Hash(); err != nil || got != want {
		t.Errorf("restored as %x, want %x (%v)", got, want, err)
	}
}
