package trajectory

import (
	"maps"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// Truncate takes a run back to an epoch that it has passed: what follows has turned out to be wrong. Trials that end
// later have no results any more. The caller sets the run's state, which must not be SUCCEEDED. The worker time that was
// spent on the later epochs still counts.
//
// It drops all checkpoints: one of an earlier epoch may come from whoever was wrong later.
func (t *Trajectory) Truncate(epochs uint32) {
	run := t.Run
	DropWeights(run)
	run.StopReason = trellisv1.StopReason_STOP_REASON_UNSPECIFIED
	run.Trainings = TrainingsUpTo(run.Trainings, epochs)
	if epochs < run.Epochs {
		t.cut(epochs)
	}
	answered := 0
	for answered < len(t.Answers) && run.Milestones[answered] <= epochs {
		answered++
	}
	if Unranked(run) {
		answered = 0
	}
	t.Answers = t.Answers[:answered:answered]
}

// Shorten takes a run of a program that is not deterministic back to an epoch, after which another attempt reports other
// values: those of the last attempt count. What trials have as their results stays as it is, and with it the epochs before.
// It says whether the run has become shorter.
func (t *Trajectory) Shorten(epochs uint32) bool {
	run := t.Run
	if answered := len(t.Answers); answered > 0 {
		epochs = max(epochs, run.Milestones[answered-1])
		// The results stand since the objective's metric was first reported.
		for values := t.values(); epochs < run.Epochs; epochs++ {
			if _, epoch := values.Last(epochs); epoch > 0 {
				break
			}
		}
	}
	if epochs >= run.Epochs {
		return false
	}
	t.cut(epochs)
	run.Trainings = TrainingsUpTo(run.Trainings, epochs)
	run.Checkpoints = slices.DeleteFunc(slices.Clone(run.Checkpoints),
		func(c *trellisv1.Checkpoint) bool { return c.Epoch > epochs })
	run.MissingWeights = slices.DeleteFunc(slices.Clone(run.MissingWeights),
		func(m *trellisv1.MissingWeights) bool { return m.Epoch > epochs })
	return true
}

// cut drops the losses after an epoch, and what follows from them.
func (t *Trajectory) cut(epochs uint32) {
	run := t.Run
	if shared := min(run.SharedEpochs, epochs); shared < run.SharedEpochs {
		run.SharedSeconds = secondsOf(shared, run.SharedSeconds, run.SharedEpochs)
		if run.SharedEpochs = shared; shared == 0 {
			run.SharedFrom = ""
		}
	}
	run.Epochs, run.AttemptEpochs = epochs, min(run.AttemptEpochs, epochs)
	run.TrainLoss, run.ValidationLoss, run.BestValidationLoss, run.BestEpoch = 0, 0, nil, 0
	run.Objective, run.Metric = nil, nil
	if epochs == 0 {
		t.Losses = nil
		return
	}
	t.Losses = FirstEpochs(t.Losses, epochs)
	t.setScore(t.scoreAt(epochs))
}

// FirstEpochs returns the losses of the first epochs, at least one. Arrays come without the room behind them: other rows
// have losses there.
func FirstEpochs(losses *trellisv1.Losses, epochs uint32) *trellisv1.Losses {
	losses = CopyLosses(losses)
	if losses.Epochs > 0 {
		losses.Epochs = epochs
	} else {
		losses.TrainLoss = losses.TrainLoss[:epochs:epochs]
		losses.ValidationLoss = losses.ValidationLoss[:epochs:epochs]
	}
	if len(losses.Seconds) > int(epochs) {
		losses.Seconds = losses.Seconds[:epochs:epochs]
	}
	losses.Metrics = MetricsUpTo(losses.Metrics, epochs)
	losses.TestLoss, losses.TestMetrics = firstEpochs(losses.TestLoss, epochs), firstEpochs(losses.TestMetrics, epochs)
	return losses
}

// Retest replaces the results on the test images of an epoch by others, if they differ, and says whether they do. reports
// are of that epoch. Those that a run has from another study may follow from what was wrong there.
func (t *Trajectory) Retest(reports *trellisv1.Reports) bool {
	epoch := reports.GetFirstEpoch()
	loss, tested := reports.GetTestLoss()[epoch]
	before, known := t.Losses.GetTestLoss()[epoch]
	metrics := reports.GetTestMetrics()[epoch]
	if !tested || !known || SameBits(loss, before) &&
		maps.EqualFunc(metrics.GetValues(), t.Losses.TestMetrics[epoch].GetValues(), SameBits) {
		return false
	}
	t.Losses = CopyLosses(t.Losses)
	tests := testResults{Losses: t.Losses}
	tests.add(epoch, loss, metrics)
	t.Answers = slices.Clone(t.Answers)
	for i, trial := range t.Answers {
		if trial.Epochs == epoch {
			t.Answers[i] = CopyTrial(trial)
			takeTest(t.Answers[i], t.Losses, epoch)
		}
	}
	return true
}

// DropWeights forgets a run's checkpoints, and which are missing.
func DropWeights(run *trellisv1.Run) { run.Checkpoints, run.MissingWeights = nil, nil }

// secondsOf is the part of the seconds of all epochs that some of them took.
func secondsOf(some uint32, seconds float64, all uint32) float64 {
	return seconds * float64(some) / float64(all)
}

// firstEpochs returns the entries of the first epochs, nil if there are none.
func firstEpochs[Value any](byEpoch map[uint32]Value, epochs uint32) map[uint32]Value {
	var first map[uint32]Value
	for epoch, value := range byEpoch {
		if epoch > epochs {
			continue
		}
		if first == nil {
			first = map[uint32]Value{}
		}
		first[epoch] = value
	}
	return first
}
