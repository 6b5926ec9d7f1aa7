package auditing

import (
	"cmp"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// Decide returns the claim of a disagreement that stands, or nil while none does: see trellisv1.Disagreement.
func Decide(claims []*trellisv1.Claim) *trellisv1.Claim {
	oneMachine := onOneMachine(claims)
	for _, claim := range claims {
		if claim.GetTraining().GetAfter() > 0 {
			continue
		}
		for _, other := range claims {
			if other != claim && Same(claim, other) &&
				independent(claim.GetTraining(), other.GetTraining(), oneMachine) {
				return claim
			}
		}
	}
	return nil
}

// With returns claims with another one added. If claims differ in their results on the test images, it leaves out those
// that have none: whoever made them can still decide.
func With(claims []*trellisv1.Claim, more *trellisv1.Claim) []*trellisv1.Claim {
	claims = append(slices.Clip(claims), more)
	if testsDiffer(claims) {
		return slices.DeleteFunc(claims, func(claim *trellisv1.Claim) bool { return !hasTest(claim) })
	}
	return claims
}

// MaxClaims is how many claims of a disagreement are kept.
const MaxClaims = 16

// Latest returns the first claim, which is recorded, and the last ones: MaxClaims in all.
func Latest(claims []*trellisv1.Claim) []*trellisv1.Claim {
	if len(claims) <= MaxClaims {
		return claims
	}
	return append(claims[:1:1], claims[len(claims)-MaxClaims+1:]...)
}

// testsDiffer says whether any claims differ in their results on the test images.
func testsDiffer(claims []*trellisv1.Claim) bool {
	var first *trellisv1.Claim
	for _, claim := range claims {
		switch {
		case !hasTest(claim):
		case first == nil:
			first = claim
		case !sameTests(first.GetLosses(), claim.GetLosses()):
			return true
		}
	}
	return false
}

// independent says whether an attempt confirms another one, which trained the run from the start. One that came later
// and resumed from a checkpoint may have had it from that other one.
func independent(fromStart, other *trellisv1.Training, oneMachine bool) bool {
	if other.GetAfter() > 0 && other.GetAttempt() > fromStart.GetAttempt() {
		return false
	}
	return oneMachine || machineOf(fromStart) != machineOf(other)
}

func onOneMachine(claims []*trellisv1.Claim) bool {
	return !slices.ContainsFunc(claims, func(claim *trellisv1.Claim) bool {
		return machineOf(claim.GetTraining()) != machineOf(claims[0].GetTraining())
	})
}

func machineOf(t *trellisv1.Training) string { return cmp.Or(t.GetMachine(), t.GetWorker()) }

// Decided returns the disagreement with what stands of its claims and what is wrong, and the workers to suspect, in the
// order of the claims: those whose claims were refuted, and where one of them had resumed from a checkpoint, those that
// may have saved it, which are among the trainings of the run.
func Decided(
	epoch uint32, claims []*trellisv1.Claim, standing *trellisv1.Claim, trainings []*trellisv1.Training,
) (decided *trellisv1.Disagreement, suspects []*trellisv1.Training) {
	decided = &trellisv1.Disagreement{Epoch: epoch}
	suspect := func(t *trellisv1.Training) {
		if t.GetWorker() != "" && !slices.ContainsFunc(suspects, func(known *trellisv1.Training) bool {
			return known.GetWorker() == t.GetWorker()
		}) {
			suspects = append(suspects, t)
		}
	}
	for _, claim := range claims {
		stands := Same(claim, standing)
		its := &trellisv1.Claim{Training: claim.Training, Report: claim.Report, Stands: stands}
		decided.Claims = append(decided.Claims, its)
		if stands {
			continue
		}
		training := claim.GetTraining()
		its.Wrong = training.GetWorker() != ""
		suspect(training)
		for _, saved := range trainings {
			if saved.GetAttempt() >= training.GetAttempt() || saved.GetAfter() >= training.GetAfter() {
				continue
			}
			its.Wrong = its.Wrong && saved.GetWorker() == training.GetWorker()
			suspect(saved)
		}
	}
	return decided, suspects
}

// MayDecide says whether a worker on a machine may train a disputed run again: a machine that has not trained it from
// the start yet. If all claims come from one machine, and alone says that no other machine is READY, that one may.
func MayDecide(dispute *trellisv1.Disagreement, worker, machine string, alone bool) bool {
	own := machineOf(&trellisv1.Training{Worker: worker, Machine: machine})
	claims := alike(dispute.GetClaims())
	if !slices.ContainsFunc(claims, func(claim *trellisv1.Claim) bool {
		return machineOf(claim.GetTraining()) == own && claim.GetTraining().GetAfter() == 0
	}) {
		return true
	}
	return alone && onOneMachine(claims)
}

// TrainedOn says whether any of the run's epochs were trained on the worker's machine.
func TrainedOn(run *trellisv1.Run, worker, machine string) bool {
	own := machineOf(&trellisv1.Training{Worker: worker, Machine: machine})
	return slices.ContainsFunc(run.GetTrainings(), func(t *trellisv1.Training) bool { return machineOf(t) == own })
}

// TrainedBy says whether any of the run's epochs were trained by one of the workers.
func TrainedBy(run *trellisv1.Run, workers []string) bool {
	return slices.ContainsFunc(run.GetTrainings(), func(t *trellisv1.Training) bool {
		return slices.Contains(workers, t.GetWorker())
	})
}
