//go:build !race

package chart

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestPoints: the points of a small study are its trials with results, in the order of their ranks, where they are in
// the grid.
func TestPoints(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		filter := drawFilter(t)
		want, ranks := d.done(filter), map[uint64]uint64{}
		for rank, trial := range d.done("") {
			ranks[trial.Index] = uint64(rank + 1)
		}
		request := &trellisv1.GetPointsRequest{Study: "s", Filter: filter, Fields: []string{"epochs"}}
		if len(want) > 0 {
			request.Fields = append(request.Fields, "x")
		}
		got, err := Points(d.Snapshot(), request)
		ok(t, err)
		if len(got.Trials) != len(want) || got.Basis.Met != uint64(len(want)) || !got.Basis.Exact {
			t.Fatalf("%d points, want %d: %v", len(got.Trials), len(want), got.Basis)
		}
		objectives, epochs := readFloat64s(got.Objectives), readFloat64s(got.Fields[0])
		for i, trial := range want {
			if got.Trials[i] != trial.Index || !same(objectives[i], objectiveOf(trial)) ||
				got.Ranks[i] != ranks[trial.Index] || epochs[i] != float64(trial.Epochs) {
				t.Fatalf("point %d is trial %d, %v, of rank %d and %v epochs; want %v of rank %d", i, got.Trials[i],
					objectives[i], got.Ranks[i], epochs[i], trial, ranks[trial.Index])
			}
			if x, known := trial.Metrics["x"]; known && !same(readFloat64s(got.Fields[1])[i], x) {
				t.Fatalf("point %d has x %v, want %v", i, readFloat64s(got.Fields[1])[i], x)
			}
			for at, axis := range got.Axes {
				level, written := readUint32s(got.Levels[at])[i], ""
				if level != none {
					written = axis.Values[level].Written()
				}
				if value := valueOf(trial, axis.Name); written != value {
					t.Fatalf("trial %d has %s %q, want %q", trial.Index, axis.Name, written, value)
				}
			}
		}
	})
}

// TestAxisValues: of a long axis of numbers, an answer has so many values, each of the level that it stands for.
func TestAxisValues(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		most := rapid.Uint32Range(1, 4).Draw(t, "axis_values")
		whole, err := Points(d.Snapshot(), &trellisv1.GetPointsRequest{Study: "s"})
		ok(t, err)
		points, err := Points(d.Snapshot(), &trellisv1.GetPointsRequest{Study: "s", AxisValues: most})
		ok(t, err)
		x, y := drawSides(t)
		heatMap, err := HeatMap(d.Snapshot(), &trellisv1.GetHeatMapRequest{Study: "s", X: x, Y: y, AxisValues: most})
		ok(t, err)
		for _, got := range append(points.Axes, heatMap.X, heatMap.Y) {
			at := slices.IndexFunc(whole.Axes, func(axis *trellisv1.ChartAxis) bool { return axis.Name == got.Name })
			want := whole.Axes[at]
			if n := uint32(len(want.Values)); n > most && got.Name != "optimizer" && got.Name != "amp" {
				some := &trellisv1.ChartAxis{Name: want.Name, Logarithmic: want.Logarithmic, Levels: n}
				for i := range most {
					some.Values = append(some.Values, want.Values[i*n/most])
				}
				want = some
			}
			if !proto.Equal(got, want) {
				t.Fatalf("at most %d values: got %v, want %v", most, got, want)
			}
		}
	})
}

// TestSampledPoints: a sample has the best and the last, and ranks that are evenly apart.
func TestSampledPoints(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		want := d.done("")
		best := rapid.Uint32Range(0, 5).Draw(t, "best")
		points := rapid.Uint32Range(max(1, best), 9).Draw(t, "points")
		got, err := Points(d.Snapshot(), &trellisv1.GetPointsRequest{Study: "s", Points: points, Best: &best})
		ok(t, err)
		if len(got.Trials) != min(len(want), int(points)) || got.Basis.Exact != (len(got.Trials) == len(want)) {
			t.Fatalf("%d points of %d, want %d: %v", len(got.Trials), len(want), points, got.Basis)
		}
		for i, rank := range got.Ranks {
			if want[rank-1].Index != got.Trials[i] || i < int(best) && rank != uint64(i+1) {
				t.Fatalf("point %d is trial %d of rank %d", i, got.Trials[i], rank)
			}
			gap := uint64(len(want)-int(best)) / uint64(max(1, int(points-best)-1))
			if i > int(best) && rank-got.Ranks[i-1] > gap+1 {
				t.Fatalf("the ranks %v are not even", got.Ranks)
			}
		}
		if n := len(got.Ranks); points > best+1 && n > 0 && got.Ranks[n-1] != uint64(len(want)) {
			t.Fatalf("the last of %d is not there: %v", len(want), got.Ranks)
		}
	})
}
