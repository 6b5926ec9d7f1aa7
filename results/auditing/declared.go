package auditing

import (
	"maps"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

// A program may not be what its spec declares. Where its trainings disagree, that may be as likely as a bad machine:
//
//   - It is not deterministic if three trainings from the start, on three machines, are all different. Where no other
//     machine can train it, machines train it a second time: it is not deterministic if one of them contradicts itself, or
//     if each confirms itself and contradicts the other.
//   - It is not deterministic either if a training that resumed from a checkpoint differs from two that did not.
//   - Its results depend on max_epochs if a run that was trained twice with the same results comes out differently with a
//     smaller max_epochs, twice in the same way.

const (
	deterministic = trellisv1.Declaration_DECLARATION_DETERMINISTIC
	prefix        = trellisv1.Declaration_DECLARATION_PREFIX
	kept          = trellisv1.Declaration_DECLARATION_UNSPECIFIED
)

// maxShorterConflicts is how many trainings with a smaller max_epochs may contradict what is recorded until it is certain
// that the program is not deterministic: they begin to differ at different epochs.
const maxShorterConflicts = 3

// ShorterMaxEpochs returns the max_epochs with which the next attempt at a run, or the one that holds it, trains it only to
// compare: 0 for the run's own.
func ShorterMaxEpochs(run *trellisv1.Run) uint32 {
	if !trajectory.AuditDue(run) {
		return 0
	}
	return run.GetAudit().GetMaxEpochs()
}

// ShorterDispute says whether a run is disputed by attempts that trained it with a smaller max_epochs.
func ShorterDispute(run *trellisv1.Run) bool {
	claims := run.GetDispute().GetClaims()
	return len(claims) > 0 && claims[len(claims)-1].GetTraining().GetMaxEpochs() > 0
}

// WeighProgram returns the claim of a disagreement that stands, or which declaration of the program it refutes. It returns
// neither while more trainings are needed. The last claim is the newest one, and the first is recorded. earlier is what
// attempts disagreed on before, at a later epoch, or nil. alone says that no other machine can train the run, and
// conflicts is how many attempts have contradicted what was recorded before.
func WeighProgram(
	claims []*trellisv1.Claim, earlier *trellisv1.Disagreement, alone bool, conflicts int,
) (standing *trellisv1.Claim, refuted trellisv1.Declaration) {
	newest := claims[len(claims)-1].GetTraining()
	if newest.GetMaxEpochs() > 0 {
		return weighShorter(claims, alone, conflicts)
	}
	// Whoever differs at this epoch agreed with all claims of a later one.
	if others := fromStart(earlier.GetClaims()); newest.GetAfter() == 0 && len(others) > 0 {
		if all := append(others, newest); machines(all) > 2 || alone && len(all) > 2 {
			return nil, deterministic
		}
	}
	standing = Decide(claims)
	if standing == nil {
		if varies(claims, alone) || conflicts+1 >= trajectory.MaxConflicts {
			return nil, deterministic
		}
		return nil, kept
	}
	if slices.ContainsFunc(claims, func(claim *trellisv1.Claim) bool {
		return claim.GetTraining().GetAfter() > 0 && !Same(claim, standing)
	}) {
		return nil, deterministic
	}
	return standing, kept
}

// weighShorter is WeighProgram for trainings with a smaller max_epochs than that of what is recorded, which two trainings
// have confirmed.
func weighShorter(
	claims []*trellisv1.Claim, alone bool, conflicts int,
) (standing *trellisv1.Claim, refuted trellisv1.Declaration) {
	recorded := claims[0]
	shorter := alike(claims)
	switch {
	case slices.ContainsFunc(shorter, func(claim *trellisv1.Claim) bool { return Same(claim, recorded) }):
		return recorded, kept
	case Decide(shorter) != nil:
		return nil, prefix
	case varies(shorter, alone), conflicts+1 >= maxShorterConflicts:
		return nil, deterministic
	}
	return nil, kept
}

// alike returns the claims of trainings with the same max_epochs as that of the last one.
func alike(claims []*trellisv1.Claim) []*trellisv1.Claim {
	if len(claims) == 0 {
		return nil
	}
	last := claims[len(claims)-1].GetTraining().GetMaxEpochs()
	var same []*trellisv1.Claim
	for _, claim := range claims {
		if claim.GetTraining().GetMaxEpochs() == last {
			same = append(same, claim)
		}
	}
	return same
}

// varies says whether claims of which none stands show that a program is not deterministic.
func varies(claims []*trellisv1.Claim, alone bool) bool {
	var different []*trellisv1.Claim
	for _, claim := range claims {
		if claim.GetTraining().GetAfter() == 0 && !slices.ContainsFunc(different, func(other *trellisv1.Claim) bool {
			return Same(claim, other)
		}) {
			different = append(different, claim)
		}
	}
	all := fromStart(claims)
	switch n := machines(all); {
	case n > 2:
		return true
	case !alone || len(different) < 2:
		return false
	case n == 1 || len(different) > 2:
		return true
	}
	// Two machines, of which each confirms itself.
	return !slices.ContainsFunc(all, func(t *trellisv1.Training) bool { return trainedAgain(all, machineOf(t)) < 2 })
}

// fromStart returns the trainings of claims that began at the first epoch.
func fromStart(claims []*trellisv1.Claim) []*trellisv1.Training {
	var trainings []*trellisv1.Training
	for _, claim := range claims {
		if claim.GetTraining().GetAfter() == 0 {
			trainings = append(trainings, claim.GetTraining())
		}
	}
	return trainings
}

func machines(trainings []*trellisv1.Training) int {
	names := map[string]bool{}
	for _, t := range trainings {
		names[machineOf(t)] = true
	}
	return len(names)
}

// trainedAgain returns how many of the trainings are of a machine.
func trainedAgain(trainings []*trellisv1.Training, machine string) int {
	count := 0
	for _, t := range trainings {
		if machineOf(t) == machine {
			count++
		}
	}
	return count
}

// Able returns the workers, of those that are READY, that may be asked to decide what a study's attempts disagree on. A
// program needs workers that run programs and have room for it, and whoever was wrong before is not asked.
func Able(study *trellisv1.Study, ready []*trellisv1.Worker) []*trellisv1.Worker {
	if study.GetSpec().GetProgram() == nil {
		return resources.Serving(study, ready)
	}
	need := resources.Of(study)
	var able []*trellisv1.Worker
	for _, worker := range ready {
		if worker.GetWrong() == nil && need.Suits(worker) {
			able = append(able, worker)
		}
	}
	return able
}

// Alone says whether none of the workers is on a machine that has not trained a disputed run from the start yet.
func Alone(dispute *trellisv1.Disagreement, able []*trellisv1.Worker) bool {
	return !slices.ContainsFunc(able, func(worker *trellisv1.Worker) bool {
		return MayDecide(dispute, worker.GetName(), worker.GetMachine(), false)
	})
}

// MayRepeat is MayDecide for a program. Where no other machine can train it, each machine trains it a second time.
func MayRepeat(dispute *trellisv1.Disagreement, worker, machine string, alone bool) bool {
	own := machineOf(&trellisv1.Training{Worker: worker, Machine: machine})
	return MayDecide(dispute, worker, machine, alone) ||
		alone && trainedAgain(fromStart(alike(dispute.GetClaims())), own) < 2
}

const (
	// maxValues is how many metrics of an epoch a refutation has.
	maxValues = 16
	// maxNamed is how many other studies it names.
	maxNamed = 100
)

// Refuted returns what claims have shown of a run, whose own max_epochs it needs for those that don't say theirs. studies
// are others that have runs in common with its study, by name.
func Refuted(
	declaration trellisv1.Declaration, run *trellisv1.Run, trial uint64, epoch uint32, claims []*trellisv1.Claim,
	studies []string,
) *trellisv1.Refutation {
	refutation := &trellisv1.Refutation{
		Declaration: declaration, Run: run.GetId(), Trial: trial, Epoch: epoch, Studies: studies[:min(len(studies), maxNamed)],
	}
	names := differing(claims)
	for _, claim := range Latest(claims) {
		training := claim.GetTraining()
		its := &trellisv1.Retraining{
			Worker: training.GetWorker(), Machine: training.GetMachine(), MaxEpochs: training.GetMaxEpochs(),
			After: training.GetAfter(), Ended: claim.GetEnded() != nil,
		}
		if its.MaxEpochs == 0 {
			its.MaxEpochs = run.GetParameters().GetMaxEpochs()
		}
		for _, name := range names {
			values := claim.GetLosses().GetMetrics()[name].GetValues()
			if len(values) == 0 {
				continue
			}
			if its.Values == nil {
				its.Values = map[string]float64{}
			}
			its.Values[name] = values[0]
		}
		refutation.Trainings = append(refutation.Trainings, its)
	}
	return refutation
}

// differing returns the names of metrics in which claims about an epoch differ or, where one of them is that the run had
// ended, of all metrics.
func differing(claims []*trellisv1.Claim) []string {
	names := map[string]bool{}
	for _, claim := range claims {
		for name, series := range claim.GetLosses().GetMetrics() {
			if !names[name] && slices.ContainsFunc(claims, func(other *trellisv1.Claim) bool {
				return !slices.EqualFunc(series.GetValues(), other.GetLosses().GetMetrics()[name].GetValues(),
					trajectory.SameBits)
			}) {
				names[name] = true
			}
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	return sorted[:min(len(sorted), maxValues)]
}
