//go:build !race

package chart

import (
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestDistribution: every finite objective is in the bin whose edges are around it, or beyond all bins.
func TestDistribution(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		request := &trellisv1.GetDistributionRequest{
			Study: "s", Filter: drawFilter(t), Bins: rapid.Uint32Range(0, 7).Draw(t, "bins"),
			Scale: trellisv1.Scale(rapid.IntRange(0, 2).Draw(t, "scale")),
		}
		logarithmic := request.Scale == trellisv1.Scale_SCALE_LOGARITHMIC
		if rapid.Bool().Draw(t, "from") {
			request.From = proto.Float64(rapid.Float64Range(0.1, 3).Draw(t, "lowest"))
		}
		if rapid.Bool().Draw(t, "to") {
			request.To = proto.Float64(rapid.Float64Range(3.1, 4).Draw(t, "highest"))
		}
		got, err := Distribution(d.Snapshot(), request)
		ok(t, err)
		var values []float64
		diverged := uint64(0)
		for _, trial := range d.done(request.Filter) {
			if value := objectiveOf(trial); math.IsNaN(value) {
				diverged++
			} else {
				values = append(values, value)
			}
		}
		slices.Sort(values)
		if got.Finite != uint64(len(values)) || got.Diverged != diverged {
			t.Fatalf("%d finite and %d diverged, want %d and %d", got.Finite, got.Diverged, len(values), diverged)
		}
		var quartiles []float64
		for i := 0; i < 5 && len(values) > 0; i++ {
			quartiles = append(quartiles, values[i*(len(values)-1)/4])
		}
		if !slices.Equal(got.Quartiles, quartiles) {
			t.Fatalf("quartiles %v, want %v of %v", got.Quartiles, quartiles, values)
		}
		edges := got.Edges
		if len(edges) == 0 {
			if slices.ContainsFunc(values, func(x float64) bool { return x > 0 || !logarithmic }) {
				t.Fatalf("no bins of %v", values)
			}
			return
		}
		below, above, counts := uint64(0), uint64(0), make([]uint64, len(edges)-1)
		for _, x := range values {
			bin := len(counts) - 1
			for bin >= 0 && x < edges[bin] {
				bin--
			}
			switch {
			case bin < 0:
				below++
			case x > edges[len(edges)-1]:
				above++
			default:
				counts[bin]++
			}
		}
		if got.Below != below || got.Above != above || !slices.Equal(got.Counts, counts) || !slices.IsSorted(edges) {
			t.Fatalf("%d below, %d above and %v, want %d, %d and %v of %v with %v", got.Below, got.Above, got.Counts, below, above,
				counts, values, edges)
		}
		if request.From != nil && edges[0] != *request.From || request.To != nil && edges[len(edges)-1] != *request.To {
			t.Fatalf("the bins are from %v to %v, asked %v", edges[0], edges[len(edges)-1], request)
		}
	})
}
