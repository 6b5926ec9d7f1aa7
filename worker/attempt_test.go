package worker

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// A program may report two checkpoints of one epoch. That the coordinator has the first says nothing of the second.
func TestTwoCheckpointsOfOneEpoch(t *testing.T) {
	a := newAttempt(t.Context(), synthetic(1, "run", 3), position{})
	defer a.end()
	for _, digest := range []string{"first", "second", "later"} {
		epoch := uint32(2)
		if digest == "later" {
			epoch = 3
		}
		a.checkpoints = append(a.checkpoints, &trellisv1.CheckpointReport{
			Checkpoint: &trellisv1.Checkpoint{Epoch: epoch, Sha256: digest},
		})
	}
	a.outcome = a.returned()
	send := func(want ...string) {
		t.Helper()
		for _, want := range append(want, "") {
			got := a.nextCheckpoint()
			if got == nil {
				got = a.nextOutcome()
			}
			text := got.GetCheckpoint().GetCheckpoint().GetSha256()
			if got.GetOutcome() != nil {
				text = "outcome"
			}
			if text != want {
				t.Errorf("sent %q, want %q", text, want)
			}
		}
	}
	send("first")
	a.resend() // The session has ended before it was acknowledged.
	send("first")
	a.acknowledge(0, 2)
	send("second", "later", "outcome")
	a.acknowledge(0, 2)
	a.resend()
	send("later", "outcome")
	a.acknowledge(0, 3)
	if len(a.checkpoints) > 0 {
		t.Errorf("%v are left", a.checkpoints)
	}
}
