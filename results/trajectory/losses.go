package trajectory

import (
	"fmt"
	"maps"
	"math"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// appendLosses returns a run's losses with more epochs: the reports from the given position on. losses is nil before
// the run's first epoch.
//
// The arrays grow in place. Readers don't see this: each stored row knows how many of an array's losses are its own,
// and only the latest row is ever appended to. So every epoch costs the same, whether it is the first or the
// thousandth.
func appendLosses(run *trellisv1.Run, losses *trellisv1.Losses, reports *trellisv1.Reports, from int) *trellisv1.Losses {
	longer := &trellisv1.Losses{Study: run.Study, Run: run.Id}
	if losses != nil {
		longer = CopyLosses(losses)
	}
	had, count := EpochsIn(longer), EpochsIn(reports)-from
	longer.Seconds = appendSeconds(longer.Seconds, had+count, reports.GetSeconds()[from:])
	if reports.GetEpochs() > 0 {
		longer.Epochs = uint32(had + count)
		longer.Metrics = appendOwnMetrics(longer.Metrics, had, reports.GetMetrics(), from, count)
		return longer
	}
	longer.TrainLoss = append(longer.TrainLoss, reports.GetTrainLoss()[from:]...)
	longer.ValidationLoss = append(longer.ValidationLoss, reports.GetValidationLoss()[from:]...)
	longer.Metrics = appendMetrics(longer.Metrics, reports.GetMetrics(), from)
	tests := testResults{Losses: longer}
	for epoch, loss := range reports.GetTestLoss() {
		if epoch >= reports.GetFirstEpoch()+uint32(from) {
			tests.add(epoch, loss, proto.CloneOf(reports.GetTestMetrics()[epoch]))
		}
	}
	return longer
}

// appendSeconds returns the epochs' times with those of the last epochs added, so that there is one for each epoch.
// Implausible times count as unknown.
func appendSeconds(seconds []float32, epochs int, last []float64) []float32 {
	for len(seconds) < epochs-len(last) {
		seconds = append(seconds, 0)
	}
	for _, took := range last {
		if !believable(took) {
			took = 0
		}
		seconds = append(seconds, float32(took))
	}
	return seconds
}

// maxSeconds is the longest plausible time of an epoch, a century: what a faulty peer sends must not spoil the sums.
const maxSeconds = 100 * 365 * 24 * 3600

func believable(seconds float64) bool { return seconds > 0 && seconds <= maxSeconds }

// testResults adds to the results on the test images of losses that share them with others.
type testResults struct {
	*trellisv1.Losses
	// own says that they are no longer shared.
	own bool
}

// add sets the results of an epoch. Metrics may be nil.
func (t *testResults) add(epoch uint32, loss float64, metrics *trellisv1.Metrics) {
	if !t.own {
		t.TestLoss, t.TestMetrics, t.own = maps.Clone(t.TestLoss), maps.Clone(t.TestMetrics), true
	}
	if t.TestLoss == nil {
		t.TestLoss = make(map[uint32]float64, 1)
	}
	t.TestLoss[epoch] = loss
	if metrics == nil {
		return
	}
	if t.TestMetrics == nil {
		t.TestMetrics = make(map[uint32]*trellisv1.Metrics, 1)
	}
	t.TestMetrics[epoch] = metrics
}

// checkRepeat compares the i-th report, of an epoch that is already recorded, with what is recorded. It must be the
// same bit for bit, where NaN equals NaN. A test loss is compared if both have one, and so are metrics, which have the
// same names. The error says what differs.
func checkRepeat(losses *trellisv1.Losses, reports *trellisv1.Reports, i int) error {
	epoch := reports.GetFirstEpoch() + uint32(i)
	if reports.GetEpochs() > 0 {
		return checkOwnMetricsRepeat(losses, reports, i)
	}
	compare := func(name string, recorded, reported float64) error {
		if SameBits(recorded, reported) {
			return nil
		}
		return fmt.Errorf("epoch %d: recorded %s loss %v, reported %v", epoch, name, recorded, reported)
	}
	if err := compare("train", losses.TrainLoss[epoch-1], reports.GetTrainLoss()[i]); err != nil {
		return err
	}
	if err := compare("validation", losses.ValidationLoss[epoch-1], reports.GetValidationLoss()[i]); err != nil {
		return err
	}
	recorded, isRecorded := losses.TestLoss[epoch]
	reported, isReported := reports.GetTestLoss()[epoch]
	if isRecorded && isReported {
		if err := compare("test", recorded, reported); err != nil {
			return err
		}
	}
	return checkMetricsRepeat(losses, reports, i)
}

// SameBits says whether two losses are the same bit for bit, where NaN is the same as NaN.
func SameBits(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}
