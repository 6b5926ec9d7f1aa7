package results

import (
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
		specs[i] = &trellisv1.StudySpec{Name: "s", Grid: []*trellisv1.Grid{{
			LatentDim: &trellisv1.IntegerAxis{Values: []uint32{4, 8, 16, 32}[:i+1]},
		}}}
	}
	run, trials := testRun("r0", 4, 0, 3)
	ok(t, store.CreateStudy(1, at(1), &trellisv1.Study{Name: "s", Spec: specs[0]}, []*trellisv1.Run{run}, trials))
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
