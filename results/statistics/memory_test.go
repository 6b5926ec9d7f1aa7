package statistics

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// However samples change, what is remembered of earlier judgements changes no judgement, and neither does what is known of places.
func TestMemory(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		objectives := rapid.SampledFrom([]float64{1, 2, 2, 3, 4, 5, 0.5, math.NaN()})
		plan := Plan{Confidence: 0.95}
		if rapid.Bool().Draw(t, "settles") {
			plan.First, plan.Last = rapid.IntRange(1, 3).Draw(t, "first"), rapid.IntRange(3, 6).Draw(t, "last")
		}
		places := rapid.SampledFrom([]int{3, 6, 6, 66}).Draw(t, "places")
		all := make([]Sample, rapid.IntRange(1, 8).Draw(t, "configurations"))
		var memory Memory
		for range rapid.IntRange(1, 6).Draw(t, "judgements") {
			for at := range all {
				if rapid.IntRange(0, 2).Draw(t, "changes") > 0 {
					continue
				}
				var sample Sample
				for place := range places {
					if place < 60 && rapid.IntRange(0, 3).Draw(t, "answered") > 0 {
						sample = append(sample, Observation{place, objectives.Draw(t, "objective")})
					}
				}
				if places > 64 {
					sample = append(sample, Observation{places - 1, objectives.Draw(t, "objective")})
				}
				all[at] = sample
			}
			var samples []Sample
			var positions []uint32
			for at, sample := range all {
				if len(sample) > 0 {
					samples, positions = append(samples, sample), append(positions, uint32(at))
				}
			}
			if len(samples) == 0 {
				continue
			}
			known := knowAll(samples)
			got := JudgeKnown(samples, known, plan, &memory, positions)
			for i := range known {
				known[i].places = 0
			}
			want := criticals{}.judgeKnown(slices.Clone(samples), known, plan, nil, nil)
			// Not a number is like itself here, and all other numbers differ if their bits do.
			if got, want := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); got != want {
				t.Fatalf("%v:\n got %s\nwant %s", samples, got, want)
			}
		}
	})
}
