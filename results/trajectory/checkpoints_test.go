package trajectory

import (
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// The weights of a trial are in any checkpoint of its run with the same best epoch. Where there is none, it is said
// why.
func TestBestWeights(t *testing.T) {
	run := func(bestEpochs ...uint32) []*trellisv1.Checkpoint {
		var checkpoints []*trellisv1.Checkpoint
		for i, best := range bestEpochs {
			checkpoints = append(checkpoints, &trellisv1.Checkpoint{Epoch: uint32(10 * (i + 1)), BestEpoch: best})
		}
		return checkpoints
	}
	for _, test := range []struct {
		name         string
		state        trellisv1.TrialState
		epochs, best uint32
		checkpoints  []*trellisv1.Checkpoint
		want         uint32
		wrong        string
	}{
		{"of a run that went on", lifecycle.TrialSucceeded, 10, 8, run(8, 19), 10, ""},
		{"that later epochs did not beat", lifecycle.TrialSucceeded, 10, 8, run(8, 8, 8), 10, ""},
		{
			"that later epochs did not beat, and its own end was not saved", lifecycle.TrialSucceeded, 5, 8,
			run(8, 8, 8), 30, "",
		},
		{"at the end", lifecycle.TrialSucceeded, 30, 29, run(8, 19, 29), 30, ""},
		{"running", lifecycle.TrialRunning, 12, 8, run(8), 10, ""},
		{"running, with better epochs since", lifecycle.TrialRunning, 12, 11, run(8), 0, "still training"},
		{"pending", lifecycle.TrialPending, 0, 0, nil, 0, "no weights yet: it is pending"},
		{"diverged", lifecycle.TrialSucceeded, 1, 0, run(0), 0, "its objective is not a finite number"},
		{"in memory", lifecycle.TrialSucceeded, 10, 8, nil, 0, "--in-memory"},
		{"overwritten", lifecycle.TrialSucceeded, 10, 8, run(7, 9), 0, "none with the weights of epoch 8"},
	} {
		got, err := BestWeights(nil,
			&trellisv1.Trial{Index: 3, State: test.state, Epochs: test.epochs, BestEpoch: test.best},
			&trellisv1.Run{Checkpoints: test.checkpoints})
		if got.GetEpoch() != test.want || (err == nil) != (test.wrong == "") ||
			err != nil && (!strings.Contains(err.Error(), test.wrong) || !strings.Contains(err.Error(), "trial 3")) {
			t.Errorf("%s: got %v, %v; want epoch %d, %q", test.name, got, err, test.want, test.wrong)
		}
	}
	// A study that took the epochs of another has not trained them itself, whatever the coordinator keeps.
	shared := &trellisv1.Run{SharedEpochs: 10, SharedFrom: "other"}
	_, err := BestWeights(nil,
		&trellisv1.Trial{Index: 3, State: lifecycle.TrialSucceeded, Epochs: 10, BestEpoch: 8}, shared)
	if err == nil || !strings.Contains(err.Error(), `for study "other"`) ||
		strings.Contains(err.Error(), "--in-memory") {
		t.Errorf("of a shared run: %v", err)
	}
}

// A trial has its result before its weights are saved. If the worker is lost in between, the weights come with the next
// attempt, or with a retry if there is none.
func TestWeightsOfLostWorkers(t *testing.T) {
	lost := []*trellisv1.Failure{{Class: lostClass, Worker: "w", Epochs: 10}}
	early := []*trellisv1.Failure{{Class: lostClass, Worker: "w", Epochs: 4}}
	for _, test := range []struct {
		run  *trellisv1.Run
		want string
	}{
		{&trellisv1.Run{State: lifecycle.RunPending, Failures: lost}, "worker w was lost before it had saved them"},
		{&trellisv1.Run{State: lifecycle.RunLeased, Failures: early}, "its run has not ended"},
		{&trellisv1.Run{State: lifecycle.RunLeased}, "its run has not ended"},
		{
			&trellisv1.Run{State: lifecycle.RunFailed, Failures: lost, Error: "of w"},
			"trellis retry s",
		},
		{&trellisv1.Run{State: lifecycle.RunCanceled, Failures: lost}, "--fresh"},
	} {
		_, err := BestWeights(nil, &trellisv1.Trial{
			Study: "s", Index: 3, State: lifecycle.TrialSucceeded, Epochs: 10, BestEpoch: 8,
		}, test.run)
		if err == nil || !strings.Contains(err.Error(), test.want) ||
			(test.run.State != lifecycle.RunCanceled) == strings.Contains(err.Error(), "--in-memory") {
			t.Errorf("of %v: %v, want %q", test.run, err, test.want)
		}
	}
	// A retry goes on from the last checkpoint: earlier epochs don't come again.
	_, err := BestWeights(nil, &trellisv1.Trial{Study: "s", State: lifecycle.TrialSucceeded, Epochs: 10, BestEpoch: 8},
		&trellisv1.Run{State: lifecycle.RunFailed, Checkpoints: []*trellisv1.Checkpoint{{Epoch: 12, BestEpoch: 11}}})
	if err == nil || !strings.Contains(err.Error(), "--fresh") {
		t.Errorf("of a run with a later checkpoint: %v", err)
	}
	// Nobody knows whether a program will report one.
	_, err = BestWeights(&trellisv1.Program{}, &trellisv1.Trial{
		Study: "s", State: lifecycle.TrialSucceeded, Epochs: 10, BestEpoch: 8,
	}, &trellisv1.Run{State: lifecycle.RunLeased})
	if err == nil || !strings.Contains(err.Error(), "its program has reported none") {
		t.Errorf("of a program without checkpoints: %v", err)
	}
}

// Of a program's checkpoints, those are kept that have the best weights of a trial, besides those at milestones and the
// last one.
func TestCheckpointsOfPrograms(t *testing.T) {
	run := &trellisv1.Run{Milestones: []uint32{5, 10}}
	saved := func(epoch uint32, best bool) {
		checkpoint := &trellisv1.Checkpoint{Epoch: epoch, Program: true}
		if best {
			checkpoint.BestEpoch = epoch
		}
		run.Checkpoints = WithCheckpoint(run, checkpoint)
	}
	kept := func(want ...uint32) {
		t.Helper()
		var epochs []uint32
		for _, checkpoint := range run.Checkpoints {
			epochs = append(epochs, checkpoint.Epoch)
		}
		if !slices.Equal(epochs, want) {
			t.Errorf("kept are %v, want %v", epochs, want)
		}
	}
	saved(1, true)
	saved(2, true)
	kept(2)
	saved(3, false)
	kept(2, 3)
	saved(4, false)
	saved(5, false)
	kept(2, 5)
	saved(6, true)
	kept(2, 5, 6)
	saved(7, false)
	saved(8, true)
	kept(2, 5, 8)
	saved(10, false)
	kept(2, 5, 8, 10)
	// A model's checkpoint has the best weights of all epochs before.
	run = &trellisv1.Run{Milestones: []uint32{5}}
	run.Checkpoints = WithCheckpoint(run, &trellisv1.Checkpoint{Epoch: 1, BestEpoch: 1})
	run.Checkpoints = WithCheckpoint(run, &trellisv1.Checkpoint{Epoch: 2, BestEpoch: 1})
	kept(2)
}
