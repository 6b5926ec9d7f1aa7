package trajectory

import (
	"errors"
	"fmt"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// CheckReports returns what is wrong with reports that would be invalid in any state of the run.
func (t *Trajectory) CheckReports(reports *trellisv1.Reports) error {
	count := EpochsIn(reports)
	if err := t.Terms.checkColumns(reports, count); err != nil {
		return err
	}
	// In 64 bits, since the sum of what a peer sends may be anything.
	first, last := uint64(reports.GetFirstEpoch()), uint64(reports.GetFirstEpoch())+uint64(count)-1
	if maxEpochs := uint64(t.Run.Parameters.GetMaxEpochs()); first == 0 || last > maxEpochs {
		return fmt.Errorf("the run's epochs are 1 to %d", maxEpochs)
	}
	outside := 0
	for epoch := range reports.GetTestLoss() {
		if uint64(epoch) < first || uint64(epoch) > last {
			outside++
		}
	}
	if outside > 0 {
		return fmt.Errorf("%d test losses are not of the reported epochs %d to %d", outside, first, last)
	}
	if t.Terms.program() != nil {
		return checkOwnMetrics(t.Losses.GetMetrics(), reports.GetMetrics(), count)
	}
	return checkMetrics(reports, count)
}

// CheckLosses says what is wrong with restored losses of the run.
func (t *Trajectory) CheckLosses(losses *trellisv1.Losses) error {
	epochs := int(t.Run.Epochs)
	switch program := t.Terms.program() != nil; {
	case program && int(losses.Epochs) != epochs:
		return fmt.Errorf("metrics of %d epochs for %d epochs", losses.Epochs, epochs)
	case !program && (len(losses.TrainLoss) != epochs || len(losses.ValidationLoss) != epochs):
		return fmt.Errorf("%d and %d losses for %d epochs", len(losses.TrainLoss), len(losses.ValidationLoss), epochs)
	}
	for name, series := range losses.Metrics {
		if len(series.Values) != epochs {
			return fmt.Errorf("%d values of metric %q for %d epochs", len(series.Values), name, epochs)
		}
		if t.Terms.program() == nil && len(series.Missing) > 0 {
			return fmt.Errorf("metric %q lacks values of %d epochs", name, len(series.Missing))
		}
	}
	if t.Terms.program() != nil {
		return checkOwnMetrics(nil, losses.Metrics, epochs)
	}
	return nil
}

// checkColumns says what is wrong with the columns of reports of count epochs, other than metrics.
func (t *Terms) checkColumns(reports *trellisv1.Reports, count int) error {
	losses := len(reports.GetTrainLoss()) + len(reports.GetValidationLoss()) + len(reports.GetTestLoss()) +
		len(reports.GetTestMetrics())
	switch {
	case t.program() != nil && losses > 0:
		return errors.New("a program reports metrics, not losses")
	case t.program() != nil && (count == 0 || len(reports.GetSeconds()) != count):
		return fmt.Errorf("%d epochs and %d times of epochs", count, len(reports.GetSeconds()))
	case t.program() != nil:
		return nil
	case reports.GetEpochs() > 0:
		return fmt.Errorf("the run has a model, but a program reports %d epochs", count)
	case count == 0 || len(reports.GetValidationLoss()) != count || len(reports.GetSeconds()) != count:
		return fmt.Errorf("%d train losses, %d validation losses and %d times of epochs",
			count, len(reports.GetValidationLoss()), len(reports.GetSeconds()))
	}
	return nil
}

// Contradiction returns how reports contradict what is recorded, and the position of the first that does. The first
// repeated reports are of epochs that are already recorded, and must be the same bit for bit. A model's run has the same
// metrics in all epochs, recorded or not.
func (t *Trajectory) Contradiction(reports *trellisv1.Reports, repeated int) (first int, err error) {
	if t.Losses == nil {
		return 0, nil
	}
	if t.Terms.program() == nil {
		if err := checkSameMetrics(t.Losses.Metrics, reports.GetMetrics()); err != nil {
			return 0, err
		}
	}
	for i := range repeated {
		if err := checkRepeat(t.Losses, reports, i); err != nil {
			return i, err
		}
	}
	return 0, nil
}

// Append records the reports from the given position on, which begin after what is recorded, and gives trials that end
// there their results. indexes has the indexes of all the run's trials, by milestone.
func (t *Trajectory) Append(reports *trellisv1.Reports, from int, indexes []uint64) {
	t.Losses = appendLosses(t.Run, t.Losses, reports, from)
	t.advance(EpochsIn(reports)-from, reports.GetSeconds()[from:], indexes)
}

// advance takes a run on by a number of epochs, which its losses have already, and answers the trials that end on the
// way. Seconds may be missing: then nothing was trained.
func (t *Trajectory) advance(epochs int, seconds []float64, indexes []uint64) {
	run := t.Run
	score, scored := t.score(), run.Epochs
	for i := range epochs {
		run.Epochs++
		if i < len(seconds) && believable(seconds[i]) {
			run.TrainingSeconds += seconds[i]
		}
		_, milestone := slices.BinarySearch(run.Milestones, run.Epochs)
		if i < epochs-1 && !milestone {
			continue
		}
		score = score.After(t.Terms.objective(), t.values(), scored, run.Epochs)
		scored = run.Epochs
		t.setScore(score)
		switch missing := AnsweredTrials(run) - len(t.Answers); {
		case missing == 1 && milestone:
			t.Answer(indexes[len(t.Answers)])
		case missing > 0:
			t.AnswerAgain(indexes)
		}
	}
}
