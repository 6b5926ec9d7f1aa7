package auditing

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// Recorded returns the claims of all attempts that vouch for what is recorded of an epoch: its losses or, for the epoch
// after the last one of a run that has ended by itself, that there is none. There is always one: if nobody knows who
// trained the epoch, its worker has no name.
//
// Results on the test images are those that the first of them has reported. The others may have reported none. Nobody
// vouches for those of epochs that come from another study: they may follow from those of another epoch.
func Recorded(its *trajectory.Trajectory, epoch uint32) []*trellisv1.Claim {
	run := its.Run
	recorded := &trellisv1.Claim{Training: &trellisv1.Training{Until: epoch}}
	if epoch > run.Epochs {
		recorded.Report = &trellisv1.Claim_Ended{Ended: &trellisv1.Outcome_Success{
			StopReason: run.StopReason, Epochs: run.Epochs,
		}}
	} else {
		recorded.Report = &trellisv1.Claim_Losses{Losses: recordedLosses(its, epoch)}
		if epoch <= run.SharedEpochs {
			dropTest(recorded)
		}
	}
	var claims []*trellisv1.Claim
	for _, training := range run.Trainings {
		if training.After < epoch && epoch <= training.Until {
			claims = append(claims, &trellisv1.Claim{Training: training, Report: recorded.Report})
			if len(claims) == 1 {
				dropTest(recorded)
			}
		}
	}
	if len(claims) == 0 {
		claims = append(claims, recorded)
	}
	return claims
}

// dropTest takes results on the test images out of a claim.
func dropTest(claim *trellisv1.Claim) {
	losses := claim.GetLosses()
	if len(losses.GetTestLoss()) == 0 {
		return
	}
	claim.Report = &trellisv1.Claim_Losses{Losses: &trellisv1.Reports{
		FirstEpoch: losses.FirstEpoch, TrainLoss: losses.TrainLoss, ValidationLoss: losses.ValidationLoss,
		Metrics: losses.Metrics,
	}}
}

// recordedLosses returns what is recorded of one epoch, as a report.
func recordedLosses(its *trajectory.Trajectory, epoch uint32) *trellisv1.Reports {
	losses := its.Losses
	report := &trellisv1.Reports{FirstEpoch: epoch, Metrics: metricsOf(losses.Metrics, int(epoch-1))}
	if losses.Epochs > 0 {
		report.Epochs = 1
		return report
	}
	report.TrainLoss = []float64{losses.TrainLoss[epoch-1]}
	report.ValidationLoss = []float64{losses.ValidationLoss[epoch-1]}
	setTest(report, epoch, losses.TestLoss, losses.TestMetrics)
	return report
}

// Reported returns the claim of an attempt that reports the epoch at a position of the reports.
func Reported(training *trellisv1.Training, reports *trellisv1.Reports, place int) *trellisv1.Claim {
	epoch := reports.GetFirstEpoch() + uint32(place)
	report := &trellisv1.Reports{FirstEpoch: epoch, Metrics: metricsOf(reports.GetMetrics(), place)}
	if reports.GetEpochs() > 0 {
		report.Epochs = 1
	} else {
		report.TrainLoss = []float64{reports.GetTrainLoss()[place]}
		report.ValidationLoss = []float64{reports.GetValidationLoss()[place]}
		setTest(report, epoch, reports.GetTestLoss(), reports.GetTestMetrics())
	}
	return &trellisv1.Claim{Training: training, Report: &trellisv1.Claim_Losses{Losses: report}}
}

// Ended returns the claim of an attempt that says that the run has ended.
func Ended(training *trellisv1.Training, success *trellisv1.Outcome_Success) *trellisv1.Claim {
	return &trellisv1.Claim{Training: training, Report: &trellisv1.Claim_Ended{Ended: proto.CloneOf(success)}}
}

func metricsOf(metrics map[string]*trellisv1.Series, place int) map[string]*trellisv1.Series {
	if len(metrics) == 0 {
		return nil
	}
	one := make(map[string]*trellisv1.Series, len(metrics))
	for name, series := range metrics {
		if _, missing := slices.BinarySearch(series.GetMissing(), uint32(place)); missing {
			continue
		}
		one[name] = &trellisv1.Series{Values: []float64{series.GetValues()[place]}}
	}
	return one
}

func setTest(
	report *trellisv1.Reports, epoch uint32, losses map[uint32]float64, metrics map[uint32]*trellisv1.Metrics,
) {
	loss, tested := losses[epoch]
	if !tested {
		return
	}
	report.TestLoss = map[uint32]float64{epoch: loss}
	if its := metrics[epoch]; its != nil {
		report.TestMetrics = map[uint32]*trellisv1.Metrics{epoch: proto.CloneOf(its)}
	}
}

// Same says whether two claims about one epoch are the same bit for bit. Results on the test images are compared if
// both have them. Why a run ended is not compared: one that ends early at its last epoch may give either reason.
func Same(a, b *trellisv1.Claim) bool {
	if a.GetEnded() != nil || b.GetEnded() != nil {
		return a.GetEnded() != nil && b.GetEnded() != nil && a.GetEnded().GetEpochs() == b.GetEnded().GetEpochs()
	}
	x, y := a.GetLosses(), b.GetLosses()
	values := func(a, b *trellisv1.Series) bool {
		return slices.EqualFunc(a.GetValues(), b.GetValues(), trajectory.SameBits)
	}
	if !slices.EqualFunc(x.GetTrainLoss(), y.GetTrainLoss(), trajectory.SameBits) ||
		!slices.EqualFunc(x.GetValidationLoss(), y.GetValidationLoss(), trajectory.SameBits) ||
		!maps.EqualFunc(x.GetMetrics(), y.GetMetrics(), values) {
		return false
	}
	if len(x.GetTestLoss()) == 0 || len(y.GetTestLoss()) == 0 {
		return true
	}
	return sameTests(x, y)
}

func sameTests(x, y *trellisv1.Reports) bool {
	tests := func(a, b *trellisv1.Metrics) bool {
		return maps.EqualFunc(a.GetValues(), b.GetValues(), trajectory.SameBits)
	}
	return maps.EqualFunc(x.GetTestLoss(), y.GetTestLoss(), trajectory.SameBits) &&
		maps.EqualFunc(x.GetTestMetrics(), y.GetTestMetrics(), tests)
}

// hasTest says whether a claim has results on the test images.
func hasTest(claim *trellisv1.Claim) bool { return len(claim.GetLosses().GetTestLoss()) > 0 }

// FromStart says whether the next attempt at a run must train it from the start, to be compared.
func FromStart(run *trellisv1.Run) bool { return run.GetDispute() != nil || trajectory.AuditDue(run) }

// Held says whether a worker holds the run: to train it, or to train it again.
func Held(run *trellisv1.Run) bool { return run.GetWorker() != "" }

// BeingAudited says whether a worker trains again what has succeeded.
func BeingAudited(run *trellisv1.Run) bool {
	return run.GetState() == lifecycle.RunSucceeded && run.GetWorker() != ""
}
