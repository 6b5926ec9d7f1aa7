//go:build !race

package chart

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/listing"
)

// drawSides draws two parameters.
func drawSides(t *rapid.T) (x, y string) {
	names := rapid.Permutation([]string{"lr", "optimizer", "size", "max_epochs", "seed"}).Draw(t, "axes")
	return names[0], names[1]
}

// cellIn returns the cell of a value on one side of a map, by the definition: cell c has the levels from c * n / cells
// on.
func cellIn(t *rapid.T, axis *trellisv1.ChartAxis, cells uint32, value string) int {
	n := len(axis.Values)
	level := slices.IndexFunc(axis.Values, func(v *trellisv1.Value) bool { return v.Written() == value })
	if level < 0 {
		t.Fatalf("%s has no %s", axis.Name, value)
	}
	for c := range int(cells) {
		if c*n/int(cells) <= level && level < (c+1)*n/int(cells) {
			return c
		}
	}
	t.Fatalf("level %d of %d is in none of %d cells", level, n, cells)
	return 0
}

// TestHeatMap compares heat maps of small studies with what their trials say.
func TestHeatMap(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		spec := drawSpec(t)
		d := draw(t, spec)
		x, y := drawSides(t)
		request := &trellisv1.GetHeatMapRequest{
			Study: "s", X: x, Y: y, Filter: drawFilter(t), Cells: rapid.Uint32Range(0, 3).Draw(t, "cells"),
			Fold: trellisv1.Fold(rapid.IntRange(0, 2).Draw(t, "fold")),
		}
		got, err := HeatMap(d.Snapshot(), request)
		ok(t, err)
		for _, axis := range []*trellisv1.ChartAxis{got.X, got.Y} {
			if !slices.IsSortedFunc(axis.Values, grid.Compare) && axis.Name != "optimizer" {
				t.Fatalf("%v does not ascend", axis)
			}
		}
		if request.Cells > 0 && (got.Columns > request.Cells || got.Rows > request.Cells) {
			t.Fatalf("%d columns and %d rows, wanted %d", got.Columns, got.Rows, request.Cells)
		}
		n := int(got.Columns * got.Rows)
		counts, diverged, best := make([]uint32, n), make([]uint32, n), make([]uint64, n)
		sums, first := make([]float64, n), make([]float64, n)
		done := d.done(request.Filter)
		for _, trial := range done {
			cell := cellIn(t, got.Y, got.Rows, valueOf(trial, y))*int(got.Columns) +
				cellIn(t, got.X, got.Columns, valueOf(trial, x))
			value := objectiveOf(trial)
			if math.IsNaN(value) {
				diverged[cell]++
				continue
			}
			if counts[cell]++; counts[cell] == 1 {
				best[cell], first[cell] = trial.Index, value
			}
			sums[cell] += value
		}
		values := readFloat64s(got.Values)
		if !slices.Equal(readUint32s(got.Counts), counts) || !slices.Equal(readUint32s(got.Diverged), diverged) ||
			!slices.Equal(got.Best, best) || got.Basis.Met != uint64(len(done)) || !got.Basis.Exact {
			t.Fatalf("counts %v, diverged %v, best %v; want %v, %v, %v", readUint32s(got.Counts), readUint32s(got.Diverged),
				got.Best,
				counts, diverged, best)
		}
		for cell, value := range values {
			want := first[cell]
			if request.Fold == trellisv1.Fold_FOLD_MEAN {
				want = sums[cell] / float64(counts[cell])
			}
			if counts[cell] == 0 != math.IsNaN(value) || counts[cell] > 0 && math.Abs(value-want) > 1e-12 {
				t.Fatalf("cell %d has %v, want %v", cell, value, want)
			}
		}
	})
}

// TestUnknownAxis: an axis that a study does not have is refused.
func TestUnknownAxis(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		_, err := HeatMap(d.Snapshot(), &trellisv1.GetHeatMapRequest{Study: "s", X: "lr", Y: "sized"})
		if !errors.Is(err, listing.ErrInvalid) {
			t.Fatal(err)
		}
		request := &trellisv1.GetCoverageRequest{Study: "s", X: "lrr", Y: "size"}
		if _, err := Coverage(d.Snapshot(), request); !errors.Is(err, listing.ErrInvalid) {
			t.Fatal(err)
		}
	})
}
