package forecast

import (
	"math"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestASlowWorkerTakesLonger: of two workers of which one is twice as fast, what is left on the slow one takes longer
// than the same on the fast one.
func TestASlowWorkerTakesLonger(t *testing.T) {
	const epochs, slow, fast, left = 40, 4.0, 2.0, 20
	// on is a run of so many epochs of which each has taken some seconds on a worker, and some are left.
	on := func(worker string, seconds float64, left uint32) *trellisv1.Run {
		run := runOf(leased, epochs)
		run.Parameters.MaxEpochs = epochs + left
		run.Worker, run.TrainingSeconds = worker, seconds*epochs
		return run
	}
	workers := []Worker{{"slow", 1}, {"fast", 1}}
	seconds := func(onSlow, onFast uint32) float64 {
		study := tallyOf(exactSpec(), on("slow", slow, onSlow), on("fast", fast, onFast))
		return Make(Input{Study: study, Workers: workers}).Forecast.GetSeconds().GetExpected()
	}
	// A third of the difference is not believed yet: the mean epoch takes 3 s, and those that were measured weigh as
	// much as two thirds.
	const trust = float64(trustedEpochs) / (epochs + trustedEpochs)
	mean := (slow + fast) / 2
	for name, test := range map[string]struct{ got, want float64 }{
		"on the slow worker": {seconds(left, 1), left * (slow - trust*(slow-mean))},
		"on the fast worker": {seconds(1, left), left * (fast + trust*(mean-fast))},
	} {
		if math.Abs(test.got-test.want) > 0.03*test.want {
			t.Errorf("%d epochs %s are forecast to take %.1f s, want about %.1f", left, name, test.got, test.want)
		}
	}
}
