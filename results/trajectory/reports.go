package trajectory

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// CheckReports returns what is wrong with reports that would be invalid in any state of the run.
func CheckReports(run *trellisv1.Run, reports *trellisv1.Reports) error {
	count := len(reports.GetTrainLoss())
	if count == 0 || len(reports.GetValidationLoss()) != count || len(reports.GetSeconds()) != count {
		return fmt.Errorf("%d train losses, %d validation losses and %d times of epochs",
			count, len(reports.GetValidationLoss()), len(reports.GetSeconds()))
	}
	// In 64 bits, since the sum of what a peer sends may be anything.
	first, last := uint64(reports.GetFirstEpoch()), uint64(reports.GetFirstEpoch())+uint64(count)-1
	if maxEpochs := uint64(run.Parameters.GetMaxEpochs()); first == 0 || last > maxEpochs {
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
	return checkMetrics(reports, count)
}

// Contradiction returns how reports contradict what is recorded, and the position of the first that does. The first
// repeated reports are of epochs that are already recorded, and must be the same bit for bit. A run has the same metrics
// in all epochs, recorded or not.
func (t *Trajectory) Contradiction(reports *trellisv1.Reports, repeated int) (first int, err error) {
	if t.Losses == nil {
		return 0, nil
	}
	if err := checkSameMetrics(t.Losses.Metrics, reports.GetMetrics()); err != nil {
		return 0, err
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
	t.advance(reports, from, indexes)
}

// advance takes a run on by the reports from the given place on, which its losses have already, and answers the trials
// that end on the way. Seconds may be missing: then nothing was trained.
func (t *Trajectory) advance(reports *trellisv1.Reports, from int, indexes []uint64) {
	run := t.Run
	milestones := run.Milestones[AnsweredTrials(run):]
	trainLosses, seconds := reports.GetTrainLoss(), reports.GetSeconds()
	best, improved := math.Inf(1), false
	if run.BestValidationLoss != nil {
		best = *run.BestValidationLoss
	}
	for i, loss := range reports.GetValidationLoss() {
		if i < from {
			continue
		}
		run.Epochs++
		if i < len(seconds) && believable(seconds[i]) {
			run.TrainingSeconds += seconds[i]
		}
		// A loss that is not finite is never the best. Of equal losses, the earliest is the best.
		if loss < best && !math.IsInf(loss, 0) {
			best, improved, run.BestEpoch = loss, true, run.Epochs
		}
		last := i == len(trainLosses)-1
		milestone := len(milestones) > 0 && run.Epochs == milestones[0]
		if !last && !milestone {
			continue
		}
		run.TrainLoss, run.ValidationLoss = trainLosses[i], loss
		if improved {
			run.BestValidationLoss, improved = proto.Float64(best), false
		}
		if !milestone {
			continue
		}
		milestones = milestones[1:]
		t.Answer(indexes[len(t.Answers)])
	}
}
