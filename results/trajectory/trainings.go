package trajectory

import (
	"cmp"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// MaxTrainings is how many attempts of a run are remembered with the epochs that they trained. Beyond that, the earliest
// is forgotten: nobody knows any more who trained its epochs.
const MaxTrainings = 32

// BeginTraining records that the attempt that holds the run has reported its first epochs, and that they agree with what
// is recorded. machine is that of its worker.
func BeginTraining(run *trellisv1.Run, machine string, first, last uint32) {
	// Rows share the slice.
	earlier := run.Trainings[max(0, len(run.Trainings)-MaxTrainings+1):]
	run.Trainings = append(slices.Clip(earlier), &trellisv1.Training{
		Attempt: run.Attempt, Worker: run.Worker, Machine: machine, After: min(run.AttemptEpochs, first-1), Until: last,
	})
}

// NoteTraining is BeginTraining for an attempt that has reported epochs before. It says whether it has.
func NoteTraining(run *trellisv1.Run, first, last uint32) bool {
	for place, known := range slices.Backward(run.Trainings) {
		if known.Attempt != run.Attempt {
			continue
		}
		if last > known.Until && first <= known.Until+1 {
			run.Trainings = slices.Clone(run.Trainings)
			run.Trainings[place] = &trellisv1.Training{
				Attempt: known.Attempt, Worker: known.Worker, Machine: known.Machine, After: known.After, Until: last,
			}
		}
		return true
	}
	return false
}

// Vouch records that an attempt that has reported all epochs before this one agrees with it, too.
func Vouch(run *trellisv1.Run, attempt uint64, epoch uint32) {
	trainings := slices.Clone(run.Trainings)
	for i, known := range trainings {
		if known.Attempt == attempt && known.Until+1 == epoch {
			trainings[i] = &trellisv1.Training{
				Attempt: known.Attempt, Worker: known.Worker, Machine: known.Machine, After: known.After, Until: epoch,
			}
		}
	}
	run.Trainings = trainings
}

// TrainingsUpTo returns who trained the first epochs of a run.
func TrainingsUpTo(trainings []*trellisv1.Training, epochs uint32) []*trellisv1.Training {
	var kept []*trellisv1.Training
	for _, t := range trainings {
		if t.After >= epochs {
			continue
		}
		if t.Until > epochs {
			t = &trellisv1.Training{
				Attempt: t.Attempt, Worker: t.Worker, Machine: t.Machine, After: t.After, Until: epochs,
			}
		}
		kept = append(kept, t)
	}
	return kept
}

// takeTrainings notes who trained the first epochs of a run for its twin, which has the same losses there.
func takeTrainings(run, from *trellisv1.Run, known uint32) {
	if len(from.Trainings) == 0 {
		return
	}
	trainings := slices.Clip(run.Trainings)
	for _, t := range TrainingsUpTo(from.Trainings, known) {
		if !slices.ContainsFunc(run.Trainings, func(own *trellisv1.Training) bool {
			return own.Attempt == t.Attempt
		}) {
			trainings = append(trainings, t)
		}
	}
	slices.SortStableFunc(trainings, func(a, b *trellisv1.Training) int { return cmp.Compare(a.Attempt, b.Attempt) })
	run.Trainings = trainings[max(0, len(trainings)-MaxTrainings):]
}
