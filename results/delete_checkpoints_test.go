package results

import (
	"errors"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// checkpointedStudy creates a study of runs of three epochs and trains them, each with a checkpoint of its own at the
// end.
func checkpointedStudy(t *testing.T, store *Store, name string) {
	t.Helper()
	ok(t, store.CreateStudy(1, at(1), indexedStudy(name, 200, 3)))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady, Slots: 1000,
	}))
	next, err := store.Snapshot().NextRuns(nil, 1000)
	ok(t, err)
	var grants []*trellisv1.Grant
	for _, run := range next {
		grants = append(grants, &trellisv1.Grant{Study: name, Run: run.Id, Worker: "worker"})
	}
	var entries []*trellisv1.RecordCommand_Entry
	for i, err := range store.Grant(3, at(3), grants) {
		ok(t, err)
		run, attempt := grants[i].Run, AttemptNumber(3, i)
		entries = append(entries, columnEntry(name, run, attempt, 1, []float64{3, 2, 1}, []float64{3, 2, 1}, nil),
			checkpointEntry(name, run, attempt, 3, run+run), stageEntry(name, run, attempt, 3))
	}
	record(t, store, 4, entries...)
}

// withCheckpoints counts the runs of a study that have checkpoints.
func withCheckpoints(t *testing.T, store *Store, study string) (count int) {
	t.Helper()
	runs, err := store.Snapshot().RunsWithCheckpoints(study)
	ok(t, err)
	for range runs {
		count++
	}
	return count
}

// Checkpoints of a study that has ended are deleted part by part, whatever becomes of the parts. Its results stay, and
// so does all that other studies have of the same runs. Extended, its runs take up again what the others have.
func TestDeleteCheckpoints(t *testing.T) {
	before := deletedAtOnce
	deletedAtOnce = 100
	defer func() { deletedAtOnce = before }()
	store := newStore(t)
	checkpointedStudy(t, store, "ended")
	ok(t, store.CreateStudy(10, at(10), indexedStudy("longer", 200, 5)))
	study := func(name string) *trellisv1.Study {
		its, err := store.Snapshot().Study(nil, name)
		ok(t, err)
		return its
	}
	digest := func() string {
		its, err := store.Snapshot().Digest("ended")
		ok(t, err)
		return its
	}
	results, artifacts := digest(), 200
	if got := withCheckpoints(t, store, "longer"); got != 200 {
		t.Fatalf("%d runs of the longer study have taken over a checkpoint", got)
	}
	kept := runAtPlace(t, store, "ended", 70)
	command := func(name string, section uint32) *trellisv1.DeleteCheckpointsCommand {
		its := study(name)
		return &trellisv1.DeleteCheckpointsCommand{
			Study: name, CreateIndex: its.CreateIndex, ModifyIndex: its.ModifyIndex, NextSection: section, KeepRuns: []string{kept},
		}
	}
	refused := func(command *trellisv1.DeleteCheckpointsCommand, want error) {
		t.Helper()
		if _, err := store.DeleteCheckpoints(20, at(20), command); !errors.Is(err, want) {
			t.Errorf("deleting is answered with %v, want %v", err, want)
		}
	}
	refused(command("longer", 0), ErrIllegalMove)
	for _, change := range []func(*trellisv1.DeleteCheckpointsCommand){
		func(c *trellisv1.DeleteCheckpointsCommand) { c.ModifyIndex-- },
		func(c *trellisv1.DeleteCheckpointsCommand) { c.CreateIndex++ },
		func(c *trellisv1.DeleteCheckpointsCommand) { c.EndTime = at(19) },
	} {
		wrong := command("ended", 0)
		change(wrong)
		refused(wrong, ErrStudyChanged)
	}
	refused(&trellisv1.DeleteCheckpointsCommand{Study: "none"}, ErrNotFound)

	part, err := store.DeleteCheckpoints(21, at(21), command("ended", 0))
	ok(t, err)
	if part != (DeletedCheckpoints{More: true, NextSection: 2, ModifyIndex: 21}) || withCheckpoints(t, store, "ended") != 200-2*64+1 {
		t.Fatalf("the first part is %+v, and %d runs have checkpoints", part, withCheckpoints(t, store, "ended"))
	}
	// Another deletion of the same study, which has looked at it before, goes on beside it.
	other := command("ended", 2)
	if other.ModifyIndex, other.EndTime = other.ModifyIndex-1, study("ended").EndTime; other.EndTime == nil {
		t.Fatal("the study has not ended")
	}
	if _, err := restoredFrom(t, store).DeleteCheckpoints(22, at(22), other); err != nil {
		t.Errorf("another deletion: %v", err)
	}
	// Whoever deletes them is gone, and another begins again.
	store = restoredFrom(t, store)
	// When the runs ended is still known.
	for index := uint64(3); index <= 4; index++ {
		if when, within, known := store.Snapshot().Times().At(index); known && within == 0 && !when.Equal(at(index).AsTime()) {
			t.Errorf("command %d was at %v", index, when)
		}
	}
	if when, within, _ := store.Snapshot().Times().At(4); within != 0 || !when.Equal(study("ended").EndTime.AsTime()) {
		t.Errorf("the runs ended at %v, within %v", when, within)
	}
	for index := uint64(22); part.More; index++ {
		part, err = store.DeleteCheckpoints(index, at(index), command("ended", 0))
		ok(t, err)
	}
	checkIndexes(t, store.Snapshot())
	if got := withCheckpoints(t, store, "ended"); got != 1 {
		t.Errorf("%d runs have checkpoints", got)
	}
	if its := study("ended"); !its.CheckpointsDeleteTime.AsTime().Equal(at(22).AsTime()) || its.State != lifecycle.StudyCompleted {
		t.Errorf("the study is %v", its)
	}
	if digest() != results {
		t.Error("the results have changed")
	}
	referred, err := store.Snapshot().Artifacts()
	ok(t, err)
	if got := withCheckpoints(t, store, "longer"); got != 200 || len(referred) != artifacts {
		t.Errorf("%d runs of the longer study have checkpoints, and there are %d artifacts", got, len(referred))
	}
	// The same once more changes nothing.
	unchanged := study("ended").ModifyIndex
	if part, err = store.DeleteCheckpoints(30, at(30), command("ended", 0)); err != nil ||
		part != (DeletedCheckpoints{ModifyIndex: unchanged}) || study("ended").ModifyIndex != unchanged {
		t.Errorf("deleting again: %+v, %v", part, err)
	}

	extended := study("ended")
	spec := indexedStudy("ended", 200, 3).Spec
	spec.Grid[0].Axes["max_epochs"] = trellisv1.AxisOf(3, 4)
	added, err := store.ExtendStudy(40, at(40), "ended", Extension{
		Spec: spec, Indices: extended.Indices, NextIndices: extended.Indices, Indexed: true, KeepDifference: true,
	})
	ok(t, err)
	if got := withCheckpoints(t, store, "ended"); added != 200 || got != 200 {
		t.Errorf("%d trials are added, and %d runs have checkpoints", added, got)
	}
	// Without others, only the kept one goes.
	ok(t, store.DeleteStudy(50, "ended", 0, 0))
	ok(t, store.SetStudyState(51, at(51), "longer", lifecycle.StudyCanceled))
	part.More = true
	for index := uint64(52); part.More; index++ {
		part, err = store.DeleteCheckpoints(index, at(index), command("longer", part.NextSection))
		ok(t, err)
	}
	if referred, err = store.Snapshot().Artifacts(); err != nil || len(referred) != 1 || !referred[kept+kept] {
		t.Errorf("%d artifacts are left: %v", len(referred), err)
	}
}

// runAtPlace returns the id of a study's run at a place.
func runAtPlace(t *testing.T, store *Store, study string, place uint32) string {
	t.Helper()
	its, err := store.Snapshot().catalog(study)
	ok(t, err)
	member, err := store.Snapshot().memberAt(nil, its, place)
	ok(t, err)
	return member.Run.Id
}
