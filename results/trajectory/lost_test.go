//go:build !race

package trajectory

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// Workers that a run has lost count until it has a new epoch, whatever else has failed since, and when it has ended
// only if the last of them failed it.
func TestLostWorkers(t *testing.T) {
	const lost, trainer = trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST, trellisv1.FailureClass_FAILURE_CLASS_TRAINER
	failure := func(class trellisv1.FailureClass, worker string, epochs uint32) *trellisv1.Failure {
		return &trellisv1.Failure{Class: class, Worker: worker, RunEpochs: epochs}
	}
	early, a, b := failure(lost, "early", 3), failure(lost, "a", 6), failure(lost, "b", 6)
	wrong := failure(trainer, "c", 6)
	for _, test := range []struct {
		name     string
		state    trellisv1.RunState
		epochs   uint32
		failures []*trellisv1.Failure
		want     int
		last     string
	}{
		{"none", lifecycle.RunPending, 6, nil, 0, ""},
		{"another class", lifecycle.RunPending, 6, []*trellisv1.Failure{wrong}, 0, ""},
		{"one before and two at the same epoch", lifecycle.RunLeased, 6, []*trellisv1.Failure{early, a, b}, 2, "b"},
		{"and another class since", lifecycle.RunLeased, 6, []*trellisv1.Failure{a, b, wrong}, 2, "b"},
		{"a new epoch since", lifecycle.RunLeased, 7, []*trellisv1.Failure{a, b}, 0, ""},
		{"a program that begins again", lifecycle.RunLeased, 2, []*trellisv1.Failure{a, b}, 2, "b"},
		{"failed for it", lifecycle.RunFailed, 6, []*trellisv1.Failure{a, b}, 2, "b"},
		{"failed for something else", lifecycle.RunFailed, 6, []*trellisv1.Failure{a, b, wrong}, 0, ""},
		{"failed without a failure", lifecycle.RunFailed, 6, nil, 0, ""},
		{"succeeded", lifecycle.RunSucceeded, 6, []*trellisv1.Failure{a, b}, 0, ""},
	} {
		run := &trellisv1.Run{State: test.state, Epochs: test.epochs, Failures: test.failures}
		if got, last := LostWorkers(run); got != test.want || last.GetWorker() != test.last {
			t.Errorf("%s: %d lost, the last %q, want %d, %q", test.name, got, last.GetWorker(), test.want, test.last)
		}
	}
}
