package trajectory

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/objective"
)

// Shared describes what a run copies from a twin: a run with the same id in another study, which has the same losses
// bit for bit.
type Shared struct {
	// Epochs is the run's number of epochs afterwards. Seconds is how long the copied epochs took.
	Epochs  uint32
	Seconds float64
	// Ended says that the run ends there, for the given reason.
	Ended  bool
	Reason trellisv1.StopReason
}

// Share returns what a run copies from its twin. The run ends if it reaches its own maximum epochs, which the twin has
// reached or passed, or if the twin has ended by itself. A twin that ended at its own maximum epochs has not ended by
// itself: this run may need more.
func Share(run, from *trellisv1.Run) Shared {
	end, maxEpochs := run.GetParameters().GetMaxEpochs(), trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	shared := Shared{Epochs: max(run.GetEpochs(), min(from.GetEpochs(), end))}
	if taken := shared.Epochs - run.GetEpochs(); taken > 0 {
		shared.Seconds = (from.GetTrainingSeconds() + from.GetSharedSeconds()) * float64(taken) / float64(from.GetEpochs())
	}
	last := shared.Epochs == end
	switch {
	case last && from.GetEpochs() > shared.Epochs:
		shared.Ended, shared.Reason = true, maxEpochs
	case from.GetState() == lifecycle.RunSucceeded && from.GetEpochs() == shared.Epochs &&
		(last || from.GetStopReason() != maxEpochs):
		shared.Ended, shared.Reason = true, from.GetStopReason()
	}
	return shared
}

// Learns says whether a run has anything to copy from its twin. Twins that contradict each other, which only faulty
// machines can cause, share nothing, and neither does a run that is disputed.
func (t *Trajectory) Learns(from *Trajectory) bool {
	if t.Run.Dispute != nil || from.Run.Dispute != nil {
		return false
	}
	shared := Share(t.Run, from.Run)
	news := shared.Epochs > t.Run.Epochs || shared.Ended || hasCheckpointFor(from.Run, t.Run)
	return news && sameBeginning(t.Losses, from.Losses)
}

// Learn gives a PENDING run what its twin has beyond it, up to the run's own end: epochs, checkpoints, and the end.
// indexes has the indexes of all the run's trials, by milestone.
func (t *Trajectory) Learn(from *Trajectory, indexes []uint64) {
	shared := Share(t.Run, from.Run)
	if shared.Epochs > t.Run.Epochs {
		t.takeEpochs(from, shared, indexes)
	}
	ShareCheckpoints(t.Run, from.Run)
	// Both agree on these epochs. Whoever trained them for the twin may have saved what this run resumes from.
	takeTrainings(t.Run, from.Run, min(t.Run.Epochs, from.Run.Epochs))
	if shared.Ended {
		t.Run.State, t.Run.StopReason = lifecycle.Run.Must(t.Run.State, lifecycle.Learn), shared.Reason
		t.AnswerRest(indexes)
	}
}

// takeEpochs takes a run on to an epoch that its twin knows, and notes where that came from.
func (t *Trajectory) takeEpochs(from *Trajectory, shared Shared, indexes []uint64) {
	run, known, had := t.Run, shared.Epochs, t.Run.Epochs
	// The arrays are shared without the room behind them, which only the run that they grow with may fill: see
	// appendLosses.
	taken := &trellisv1.Losses{
		Study: run.Study, Run: run.Id, Metrics: MetricsUpTo(from.Losses.Metrics, known), Seconds: t.Losses.GetSeconds(),
	}
	if from.Losses.Epochs > 0 {
		taken.Epochs = known
	} else {
		taken.TrainLoss = from.Losses.TrainLoss[:known:known]
		taken.ValidationLoss = from.Losses.ValidationLoss[:known:known]
		takeTests(taken, t, from)
	}
	t.Losses = taken
	t.advance(int(known-had), nil, indexes)
	run.SharedEpochs += known - had
	run.SharedSeconds += shared.Seconds
	run.SharedFrom = from.Run.Study
}

// sameBeginning says whether losses agree as far as both go. Those that have been taken over share their arrays, so
// that as a rule nothing has to be compared.
func sameBeginning(a, b *trellisv1.Losses) bool {
	same := func(a, b []float64) bool {
		n := min(len(a), len(b))
		return n == 0 || &a[0] == &b[0] || slices.EqualFunc(a[:n], b[:n], SameBits)
	}
	if !same(a.GetTrainLoss(), b.GetTrainLoss()) || !same(a.GetValidationLoss(), b.GetValidationLoss()) {
		return false
	}
	if a == nil || b == nil {
		return true
	}
	if a.Epochs > 0 || b.Epochs > 0 {
		return sameOwnMetrics(a.Metrics, b.Metrics, min(a.Epochs, b.Epochs))
	}
	for name, series := range a.Metrics {
		if !same(series.Values, b.Metrics[name].GetValues()) {
			return false
		}
	}
	return sameKeys(a.Metrics, b.Metrics)
}

// takeTests gives the losses that a run takes over from its twin the results on the test images: its own and its
// twin's, and at its own milestones also those that follow from them.
func takeTests(taken *trellisv1.Losses, edited, twin *Trajectory) {
	from := twin.Losses
	first, known := edited.Run.Epochs+1, uint32(len(taken.ValidationLoss))
	taken.TestLoss, taken.TestMetrics = edited.Losses.GetTestLoss(), edited.Losses.GetTestMetrics()
	tests := testResults{Losses: taken}
	if first == 1 && int(known) == len(from.ValidationLoss) {
		taken.TestLoss, taken.TestMetrics = from.TestLoss, from.TestMetrics
	} else {
		for epoch, loss := range from.TestLoss {
			if first <= epoch && epoch <= known {
				tests.add(epoch, loss, from.TestMetrics[epoch])
			}
		}
	}
	for _, milestone := range edited.Run.Milestones {
		if _, has := taken.TestLoss[milestone]; has || milestone < first || milestone > known {
			continue
		}
		if at, follows := twin.testedAt(milestone, twin.scoreAt(milestone)); follows {
			tests.add(milestone, from.TestLoss[at], from.TestMetrics[at])
		}
	}
}

// testedAt is an epoch of which results on the test images were reported that are those of the given one too, which has
// the score best, since both have the same best weights.
func (t *Trajectory) testedAt(epoch uint32, best objective.Score) (at uint32, follows bool) {
	if len(t.Losses.GetTestLoss()) == 0 {
		return 0, false
	}
	o, values := t.Terms.objective(), t.values()
	now := best
	for at = max(1, best.Epoch); at <= t.Run.Epochs; at++ {
		if at > epoch {
			now = now.After(o, values, at-1, at)
		}
		if now.Epoch != best.Epoch {
			break
		}
		if _, reported := t.Losses.TestLoss[at]; reported {
			return at, true
		}
	}
	return 0, false
}

// hasCheckpointFor says whether a twin has a checkpoint of the run's epochs that the run would keep and does not have.
func hasCheckpointFor(from, run *trellisv1.Run) bool {
	return slices.ContainsFunc(from.Checkpoints, func(checkpoint *trellisv1.Checkpoint) bool {
		return wanted(run,
			checkpoint)
	})
}

// wanted says whether a run would keep a checkpoint that it does not have.
func wanted(run *trellisv1.Run, checkpoint *trellisv1.Checkpoint) bool {
	if checkpoint.Epoch > run.Epochs {
		return false
	}
	if _, has := CheckpointAt(run.Checkpoints, checkpoint.Epoch); has {
		return false
	}
	return checkpoint.Epoch > LastCheckpoint(run).GetEpoch() || slices.Contains(run.Milestones, checkpoint.Epoch)
}

// ShareCheckpoints gives a run those of its twin's checkpoints that it would keep, and those of its twin's missing
// weights that concern it.
func ShareCheckpoints(run, from *trellisv1.Run) {
	for _, checkpoint := range from.Checkpoints {
		if wanted(run, checkpoint) {
			run.Checkpoints = WithCheckpoint(run, checkpoint)
		}
	}
	shareMissing(run, from)
}
