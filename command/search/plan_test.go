package search

import (
	"bytes"
	"testing"

	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// What studies would cost, in each format.
func TestGoldenPlans(t *testing.T) {
	t.Setenv("TZ", "UTC")
	cost := func(format output.Format, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 3, Runs: 2, Epochs: 300, EpochsAlone: 450, Forecast: bound(300, 200, 33.25, 8, "the spec's epoch_time"),
		}, fake.Now)
	}
	plan := func(format output.Format, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 108, Runs: 36, Epochs: 5400, EpochsAlone: 10800, RunsShared: 12, EpochsShared: 1700, SecondsShared: 860,
			Forecast: fake.Forecast(),
		}, fake.Now)
	}
	nothing := func(format output.Format, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 3, Runs: 1, Epochs: 30, EpochsAlone: 60, RunsShared: 1, EpochsShared: 30, SecondsShared: 1.5,
			Forecast: &trellisv1.Forecast{Epochs: &trellisv1.Estimate{}, Seconds: &trellisv1.Estimate{}, Confidence: 0.9},
		}, fake.Now)
	}
	golden.CheckListing(t, "estimate", func(format string, out *bytes.Buffer) error { return cost(output.Format(format), out) })
	golden.CheckListing(t, "plan", func(format string, out *bytes.Buffer) error { return plan(output.Format(format), out) })
	golden.CheckListing(t, "known_plan", func(format string, out *bytes.Buffer) error { return nothing(output.Format(format), out) })
}
