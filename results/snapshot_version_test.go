package results

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// twoRuns are a snapshot's rows of a study of two runs, of 3 and of 5 epochs, the shorter one first.
func twoRuns(t *testing.T) (study *trellisv1.Study, runs, trials []proto.Message) {
	t.Helper()
	study = &trellisv1.Study{
		Name: "s", State: lifecycle.StudyRunning, Indices: 3, Progress: &trellisv1.Progress{
			Runs: 2, Trials: 3,
			EpochsLeft: 8,
		},
	}
	short, one := testRun("short", 4, 0, 3)
	long, two := testRun("long", 8, 1, 2, 5)
	for _, run := range []*trellisv1.Run{short, long} {
		run.Study, run.State = "s", lifecycle.RunPending
		runs = append(runs, run)
	}
	for _, trial := range slices.Concat(one, two) {
		trial.Study = "s"
		trials = append(trials, trial)
	}
	return study, runs, trials
}

// TestOrderOfRuns: the places of a study's runs are the order of their rows, whatever that is. In version 1 it was
// always the same.
func TestOrderOfRuns(t *testing.T) {
	study, runs, trials := twoRuns(t)
	rows := func(version uint32, runs ...proto.Message) []byte {
		return forgedVersion(version, payload(tableStudies, study), payload("runs", runs...),
			payload("trials", trials...), endMark(6))
	}
	longestFirst := []proto.Message{runs[1], runs[0]}
	for _, test := range []struct {
		version uint32
		runs    []proto.Message
		want    string
	}{
		{1, longestFirst, ""},
		{1, runs, `run long of study "s" is out of order`},
		{2, longestFirst, ""},
		{2, runs, ""},
		{2, []proto.Message{runs[0], runs[0]}, "it occurs twice"},
	} {
		store := newStore(t)
		err := store.Restore(bytes.NewReader(rows(test.version, test.runs...)))
		if test.want != "" {
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("version %d: error %v, want %q", test.version, err, test.want)
			}
			continue
		}
		ok(t, err)
		next, err := store.Snapshot().NextRuns(nil, 2)
		ok(t, err)
		for place, run := range next {
			equal(t, "the next run", run, test.runs[place])
		}
	}
}

// TestRunsOfStudiesInBetween: the runs of a study stand together.
func TestRunsOfStudiesInBetween(t *testing.T) {
	study, runs, _ := twoRuns(t)
	other := &trellisv1.Study{Name: "t", State: lifecycle.StudyRunning, CreateIndex: 1}
	its, _ := testRun("its", 4, 0, 3)
	its.Study, its.State = "t", lifecycle.RunPending
	data := forged(payload(tableStudies, study, other), payload("runs", runs[0], its, runs[1]))
	if err := newStore(t).Restore(bytes.NewReader(data)); !errors.Is(err, ErrCorrupt) ||
		!strings.Contains(err.Error(), "out of order") {
		t.Errorf("error %v", err)
	}
}

// TestWhatVersion1LeftOut is there when its snapshot has been restored: the state is the one that the same log gives
// today.
func TestWhatVersion1LeftOut(t *testing.T) {
	data, err := os.ReadFile("testdata/snapshot-1.bin")
	ok(t, err)
	store := newStore(t)
	ok(t, store.Restore(bytes.NewReader(data)))
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	trials, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s"})
	ok(t, err)
	alone := uint64(0)
	for _, trial := range trials.Trials {
		if trial.State == lifecycle.TrialSucceeded || trial.State == lifecycle.TrialDiverged {
			alone += uint64(trial.Epochs)
		}
	}
	last := trials.Trials[len(trials.Trials)-1]
	if study.Numerics != "1" || study.Indices != last.Index+1 || study.Progress.EpochsAlone != alone || alone == 0 {
		t.Errorf("%v, of trials up to %d whose answers take %d epochs", study, last.Index, alone)
	}
}

// TestStudyWithoutWorkOnlyIfItIsToBeSettled: a study that is RUNNING has something left to do.
func TestStudyWithoutWorkOnlyIfItIsToBeSettled(t *testing.T) {
	settle := &trellisv1.StudySpec{Settle: &trellisv1.Settle{MaxSeeds: 3}}
	for _, test := range []struct {
		spec    *trellisv1.StudySpec
		settled bool
		want    error
	}{
		{nil, false, ErrCorrupt},
		{settle, false, nil},
		{settle, true, ErrCorrupt},
	} {
		study, runs, trials := twoRuns(t)
		study.Spec, study.Settled = test.spec, test.settled
		study.Progress = &trellisv1.Progress{Runs: 2, Trials: 3, RunsPruned: 2, TrialsPruned: 3}
		for _, run := range runs {
			run.(*trellisv1.Run).State = lifecycle.RunPruned
		}
		data := forged(payload(tableStudies, study), payload("runs", runs...), payload("trials", trials...), endMark(6))
		store := newStore(t)
		if err := store.Restore(bytes.NewReader(data)); !errors.Is(err, test.want) {
			t.Errorf("to be settled %v, settled %v: error %v, want %v", test.spec != nil, test.settled, err, test.want)
		}
	}
}
