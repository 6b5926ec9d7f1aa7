package forecast

import (
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lattice"
)

// Runs that are counted where they are in the grid give the same tally as the runs themselves, also when there are so many
// that similar ones count as equal.
func TestSpotsCountAsRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := exactSpec()
		numbers := func(name string, from float64, most int) *trellisv1.Axis {
			values := make([]float64, rapid.IntRange(1, most).Draw(t, name))
			factor := rapid.Float64Range(1.001, 1.3).Draw(t, "factor of "+name)
			for i := range values {
				values[i] = from
				from *= factor
			}
			return trellisv1.AxisOf(values...)
		}
		integers := func(name string, most int) *trellisv1.Axis {
			values := make([]uint32, rapid.IntRange(1, most).Draw(t, name))
			for i := range values {
				values[i] = uint32(i*i + 1)
			}
			return trellisv1.AxisOf(values...)
		}
		spec.Grid = nil
		for range rapid.IntRange(1, 2).Draw(t, "grids") {
			axes := map[string]*trellisv1.Axis{
				"latent_dim": integers("latent_dim", 3), "learning_rate": numbers("learning_rate", 1e-4, 30),
				"weight_decay": numbers("weight_decay", 1e-7, 20), "batch_size": integers("batch_size", 3),
				"max_epochs": integers("max_epochs", 3),
			}
			for _, shape := range settingNames[4:] {
				if rapid.Bool().Draw(t, "with "+shape) {
					axes[shape] = integers(shape, 2)
				}
			}
			for _, name := range []string{"fine_tune", "shift"} {
				if axes[name] != nil && rapid.Bool().Draw(t, name+" from 0") {
					axes[name] = trellisv1.AxisOf[uint32](0, 1)
				}
			}
			spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: axes})
		}
		spec.Seeds = integers("seeds", 2)
		spec.Order = rapid.SampledFrom([]trellisv1.Order{
			trellisv1.Order_ORDER_LONGEST, trellisv1.Order_ORDER_RANDOM, trellisv1.Order_ORDER_AS_WRITTEN,
		}).Draw(t, "order")
		if rapid.Bool().Draw(t, "apart") {
			spec.Model, spec.Program = "", &trellisv1.Program{Command: []string{"x"}}
		}
		its, err := lattice.Of(spec)
		if err != nil {
			t.Skip(err)
		}
		known := rapid.Uint32Range(0, 2*its.Runs()).Draw(t, "known")
		runs, spots := NewTally(spec), NewTally(spec)
		place := uint32(0)
		for spot := range its.Spots(0, its.Runs()) {
			run := its.Run(place)
			if runs.Add(run, nil); place == known {
				spots.Add(run, nil)
			} else {
				spots.AddSpot(spot)
			}
			place++
		}
		if !reflect.DeepEqual(runs.classes, spots.classes) || !reflect.DeepEqual(runs.queue, spots.queue) {
			t.Fatalf("%d runs: %d classes in steps of %g, and %d in steps of %g", place, len(runs.classes.list), runs.classes.step,
				len(spots.classes.list), spots.classes.step)
		}
		if got, want := Make(Input{Study: spots}).Forecast, Make(Input{Study: runs}).Forecast; !proto.Equal(got, want) {
			t.Fatalf("forecast %v, want %v", got, want)
		}
	})
}

// A queue keeps the last runs in their order, and counts those before.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var all []int32
		for range rapid.IntRange(0, 30).Draw(t, "times") {
			class, runs := rapid.IntRange(0, 9).Draw(t, "class"), rapid.SampledFrom([]int{1, 2, 100, 511, 512, 513, 2000}).Draw(t, "runs")
			q.add(class, runs)
			for range runs {
				all = append(all, int32(class))
			}
		}
		rest := all[max(0, len(all)-restRuns):]
		counts := make([]int, 10)
		for _, class := range all[:len(all)-len(rest)] {
			counts[class]++
		}
		if got := q.rest(); q.runs != len(all) || len(got) != len(rest) || len(rest) > 0 && !reflect.DeepEqual(got, rest) {
			t.Fatalf("%d runs, the last of which are %v: want %d and %v", q.runs, got, len(all), rest)
		}
		if got := q.counts(10); !reflect.DeepEqual(got, counts) {
			t.Fatalf("%v runs by class, want %v", got, counts)
		}
	})
}
