package studies

import (
	"bytes"
	"testing"

	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// What extensions would cost, in each format.
func TestGoldenExtensionPlans(t *testing.T) {
	t.Setenv("TZ", "UTC")
	study := &trellisv1.Study{Name: "sample", Spec: &trellisv1.StudySpec{Name: "sample"}}
	exactly := func(epochs float64) *trellisv1.Forecast {
		return &trellisv1.Forecast{Epochs: &trellisv1.Estimate{Expected: epochs, Low: epochs, High: epochs}, Confidence: 0.9}
	}
	repeated := fake.Forecast() // An alternative is what there is.
	repeated.Alternatives = append(repeated.Alternatives, &trellisv1.Forecast_Alternative{Slots: repeated.GetSlots(), Seconds: 9999})
	for name, plan := range map[string]*trellisv1.PlanExtensionResponse{
		"extension":         {Trials: 24, Runs: 4, RunsLengthened: 12, Epochs: 200, Forecast: fake.Forecast()},
		"longer_extension":  {Trials: 12, RunsLengthened: 12, Epochs: 120, EpochsBefore: 30, EpochsAgain: 90, Forecast: exactly(240)},
		"time_extension":    {RunsReopened: 3, Epochs: 30, Forecast: exactly(30)},
		"trained_extension": {Trials: 3, Forecast: exactly(0)},
		"large_extension": {
			Trials: 24, Runs: 4, Epochs: 200, Forecast: repeated, Smallest: &trellisv1.ModelSize{Weights: 100, Operations: 1e9},
			Largest: &trellisv1.ModelSize{Weights: 9_000_000, Operations: 2e12, Memory: 9 << 30},
			WaitingFor: &trellisv1.WaitingFor{
				Reason: trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE, Memory: 9 << 30, LargestMemory: 2 << 30,
			},
		},
	} {
		golden.CheckListing(t, name, func(format string, out *bytes.Buffer) error {
			return writeExtensionPlan(out, output.Format(format), study, plan, fake.Now)
		})
	}
}
