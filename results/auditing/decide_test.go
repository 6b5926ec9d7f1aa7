package auditing

import (
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// claimOf is a worker's claim that a loss is the given one. The worker's machine is named as the first letter of its name.
func claimOf(attempt uint64, worker string, after uint32, loss float64) *trellisv1.Claim {
	training := &trellisv1.Training{Attempt: attempt, Worker: worker, After: after, Until: 6}
	if worker != "" {
		training.Machine = worker[:1]
	}
	losses := []float64{loss}
	return &trellisv1.Claim{Training: training, Report: &trellisv1.Claim_Losses{
		Losses: &trellisv1.Reports{FirstEpoch: 7, TrainLoss: losses, ValidationLoss: losses},
	}}
}

func tested(claim *trellisv1.Claim, loss float64) *trellisv1.Claim {
	claim.GetLosses().TestLoss = map[uint32]float64{7: loss}
	return claim
}

func endedAt(attempt uint64, worker string, epochs uint32) *trellisv1.Claim {
	claim := claimOf(attempt, worker, 0, 0)
	claim.Report = &trellisv1.Claim_Ended{Ended: &trellisv1.Outcome_Success{Epochs: epochs}}
	return claim
}

func TestDecide(t *testing.T) {
	for name, test := range map[string]struct {
		claims []*trellisv1.Claim
		// stands is the position of a claim that stands, or -1.
		stands int
	}{
		"two machines differ":        {[]*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "b", 0, 2)}, -1},
		"a third confirms the first": {[]*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "b", 0, 2), claimOf(3, "c", 0, 1)}, 0},
		"a third confirms the second": {
			[]*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "b", 0, 2), claimOf(3, "c", 0, 2)}, 1,
		},
		"all three differ": {[]*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "b", 0, 2), claimOf(3, "c", 0, 3)}, -1},
		"another worker of the machine confirms nothing": {
			[]*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "b", 0, 2), claimOf(3, "a2", 0, 1)}, -1,
		},
		"unless there is no other machine": {
			[]*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "a", 0, 2), claimOf(3, "a2", 0, 1)}, 0,
		},
		"who resumed from a checkpoint repeats the fault": {
			[]*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "b", 3, 1), claimOf(3, "c", 0, 2)}, -1,
		},
		"who resumed from a checkpoint is confirmed by one from the start": {
			[]*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "b", 3, 2), claimOf(3, "c", 0, 2)}, 2,
		},
		"two that resumed confirm nothing": {
			[]*trellisv1.Claim{claimOf(1, "a", 3, 1), claimOf(2, "b", 3, 1), claimOf(3, "c", 0, 2)}, -1,
		},
		"what an older version recorded is confirmed": {
			[]*trellisv1.Claim{claimOf(0, "", 0, 1), claimOf(2, "b", 0, 2), claimOf(3, "c", 0, 1)}, 0,
		},
		"ends": {
			[]*trellisv1.Claim{claimOf(1, "a", 0, 1), endedAt(2, "b", 6), endedAt(3, "c", 6)}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decide(test.claims)
			if test.stands < 0 && got != nil || test.stands >= 0 && got != test.claims[test.stands] {
				t.Errorf("%v stands, want the one at %d", got, test.stands)
			}
		})
	}
}

// Whoever has reported no test loss has no say about one, and can still decide.
func TestWith(t *testing.T) {
	first, untested, other := tested(claimOf(1, "a", 0, 1), 5), claimOf(2, "b", 0, 1), tested(claimOf(3, "c", 0, 1), 6)
	before := []*trellisv1.Claim{first, untested}
	got := With(before, other)
	if len(got) != 2 || got[0] != first || got[1] != other {
		t.Errorf("claims %v", got)
	}
	if before[1] != untested {
		t.Error("the claims from before have changed")
	}
	if got := With(before, tested(claimOf(3, "c", 0, 1), 5)); len(got) != 3 {
		t.Errorf("with the same test loss: %v", got)
	}
	if !MayDecide(&trellisv1.Disagreement{Claims: got}, "b", "b", false) {
		t.Error("a worker that has reported no test loss may not decide")
	}
}

func TestDecided(t *testing.T) {
	saver := &trellisv1.Training{Attempt: 1, Worker: "a", Machine: "a", Until: 5}
	claims := []*trellisv1.Claim{claimOf(2, "b", 3, 1), claimOf(3, "c", 0, 2), claimOf(4, "d", 0, 2), claimOf(5, "e", 0, 4)}
	before := proto.CloneOf(claims[0])
	decided, suspects := Decided(7, claims, claims[1], []*trellisv1.Training{saver, claims[0].Training})
	var stands, wrong, names string
	for _, claim := range decided.Claims {
		if claim.Stands {
			stands += claim.Training.Worker
		}
		if claim.Wrong {
			wrong += claim.Training.Worker
		}
	}
	for _, suspect := range suspects {
		names += suspect.Worker
	}
	// The checkpoint that b resumed from may have been the cause, so that it is not called wrong.
	if stands != "cd" || wrong != "e" || names != "bae" {
		t.Errorf("%q stand, %q are wrong, suspects %q", stands, wrong, names)
	}
	if !proto.Equal(claims[0], before) {
		t.Error("a claim has changed")
	}
	saver.Worker = "b"
	if decided, _ = Decided(7, claims, claims[1], []*trellisv1.Training{saver}); !decided.Claims[0].Wrong {
		t.Error("a worker that resumed from its own checkpoint is not called wrong")
	}
}

func TestMayDecide(t *testing.T) {
	dispute := &trellisv1.Disagreement{Claims: []*trellisv1.Claim{
		claimOf(1, "a", 0, 1), claimOf(2, "b", 0, 2), claimOf(3, "c", 3, 1),
	}}
	for worker, want := range map[string]bool{"a": false, "a2": false, "b": false, "c": true, "d": true} {
		if got := MayDecide(dispute, worker, worker[:1], true); got != want {
			t.Errorf("worker %s may decide: %v, want %v", worker, got, want)
		}
	}
	lone := &trellisv1.Disagreement{Claims: []*trellisv1.Claim{claimOf(1, "a", 0, 1), claimOf(2, "a", 0, 2)}}
	if MayDecide(lone, "a", "a", false) || !MayDecide(lone, "a", "a", true) {
		t.Error("the only machine that there is must decide, and no other time")
	}
}

// About the given share of runs is audited, a larger share includes the runs of a smaller one, and at least one run is.
func TestSampled(t *testing.T) {
	const runs = 4096
	id := func(i int) string {
		const digits = "0123456789abcdef"
		return string([]byte{digits[i>>8&15], digits[i>>4&15], digits[i&15]}) + "0000000000000000000000000000"
	}
	for share, want := range map[float64]int{0: 0, 1e-9: 1, 0.25: runs / 4, 0.5: runs / 2, 1: runs} {
		sampled := 0
		for i := range runs {
			if Sampled(share, id(i), id(0)) {
				sampled++
			}
			if Sampled(0.25, id(i), id(0)) && !Sampled(0.5, id(i), id(0)) {
				t.Fatalf("run %d is audited with a share of 25%% and not with one of 50%%", i)
			}
		}
		if sampled != want {
			t.Errorf("share %v: %d of %d runs, want %d", share, sampled, runs, want)
		}
	}
}

// Recorded claims have a test loss only where somebody has reported it.
func TestRecorded(t *testing.T) {
	losses := &trellisv1.Losses{
		TrainLoss: []float64{1, 2}, ValidationLoss: []float64{3, 4}, TestLoss: map[uint32]float64{2: 5},
	}
	run := &trellisv1.Run{Epochs: 2, Trainings: []*trellisv1.Training{
		{Attempt: 1, Worker: "a", Until: 2}, {Attempt: 2, Worker: "b", After: 1, Until: 2}, {Attempt: 3, Worker: "c", Until: 1},
	}}
	claims := Recorded(&trajectory.Trajectory{Run: run, Losses: losses}, 2)
	if len(claims) != 2 || claims[0].GetLosses().GetTestLoss()[2] != 5 || hasTest(claims[1]) ||
		claims[1].GetLosses().GetTrainLoss()[0] != 2 {
		t.Errorf("claims %v", claims)
	}
	run.SharedEpochs = 2
	if claims = Recorded(&trajectory.Trajectory{Run: run, Losses: losses}, 2); hasTest(claims[0]) {
		t.Errorf("of another study: %v", claims)
	}
	run.Trainings = nil
	claims = Recorded(&trajectory.Trajectory{Run: run, Losses: losses}, 3)
	if len(claims) != 1 || claims[0].GetEnded().GetEpochs() != 2 || claims[0].GetTraining().GetWorker() != "" {
		t.Errorf("the end: %v", claims)
	}
}

// Of many claims, what is recorded and the last ones are kept.
func TestLatest(t *testing.T) {
	var claims []*trellisv1.Claim
	for attempt := range uint64(MaxClaims + 3) {
		claims = append(claims, &trellisv1.Claim{Training: &trellisv1.Training{Attempt: attempt}})
		want := max(1, int(attempt)-MaxClaims+2)
		latest := Latest(claims)
		if len(latest) > MaxClaims || latest[0] != claims[0] || latest[len(latest)-1] != claims[attempt] ||
			len(latest) > 1 && latest[1] != claims[want] {
			t.Errorf("of %d claims: %v", len(claims), latest)
		}
	}
}
