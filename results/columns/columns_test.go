package columns

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
)

// Pages that are found in columns are those that are found by sorting all trials.
func TestPages(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		losses := []float64{-1, 0, 0.5, 2, math.Inf(1), math.NaN()}
		var trials []*trellisv1.Trial
		for i := range rapid.IntRange(0, 80).Draw(t, "trials") {
			trial := &trellisv1.Trial{
				Index: uint64(i*3 + 1), State: trellisv1.TrialState(rapid.IntRange(1, 3).Draw(t, "state")),
				Parameters: &trellisv1.Parameters{MaxEpochs: rapid.Uint32Range(1, 3).Draw(t, "epochs")},
			}
			if at := rapid.IntRange(-1, len(losses)-1).Draw(t, "loss"); at >= 0 {
				trial.Objective, trial.BestEpoch = &losses[at], uint32(at)
				trial.Metrics = map[string]float64{"accuracy": losses[len(losses)-1-at]}
				if its := rapid.SampledFrom(losses).Draw(t, "test"); rapid.Bool().Draw(t, "program") {
					trial.Metrics["test_accuracy"] = its
				} else {
					trial.TestMetrics = map[string]float64{"accuracy": its}
				}
			}
			trials = append(trials, trial)
		}
		ranking := listing.Ranking{Maximize: rapid.Bool().Draw(t, "maximize")}
		fields := listing.RankedBy(ranking, listing.WithMetrics([]string{"accuracy", "test_accuracy"}, listing.Fields))
		orderBy := rapid.SampledFrom([]string{
			"objective", "-objective", "state", "-state", "best_epoch", "-best_epoch", "accuracy", "-accuracy", "test_accuracy",
			"-test_loss",
		}).Draw(t, "order")
		order, err := listing.OrderOf(&trellisv1.Study{}, nil, orderBy, fields)
		if err != nil {
			t.Fatal(err)
		}
		var keys []listing.Key
		for _, trial := range trials {
			keys = append(keys, order.Key(trial))
		}
		slices.SortFunc(keys, func(a, b listing.Key) int { return bytes.Compare(a[:], b[:]) })
		size := rapid.IntRange(1, 30).Draw(t, "size")
		after := listing.Place{}
		if from := rapid.IntRange(0, len(keys)).Draw(t, "from"); from > 0 {
			after, keys = keys[from-1].Place(), keys[from:]
		}
		page := listing.NewTop(size)
		parts := rapid.IntRange(1, 40).Draw(t, "parts")
		for part := range slices.Chunk(trials, parts) {
			Of(ranking, slices.Values(part)).Offer(page, order, after)
		}
		got, more := page.Trials()
		if len(got) != min(size, len(keys)) || more != (len(keys) > size) {
			t.Fatalf("%d trials, more: %v, want %d of %d", len(got), more, size, len(keys))
		}
		for i, trial := range got {
			if trial.Index != keys[i].Index() {
				t.Fatalf("trial %d is %d, want %d", i, trial.Index, keys[i].Index())
			}
		}
	})
}
