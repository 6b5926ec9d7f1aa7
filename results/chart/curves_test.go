package chart

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
)

// TestCurves: the curves of a small study are those of all runs with epochs whose trials meet the filter, and where a
// curve has more epochs than points, the best of neighbors is kept.
func TestCurves(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		spec := drawSpec(t)
		d := draw(t, spec)
		filter, points := drawFilter(t), rapid.Uint32Range(0, 4).Draw(t, "points")
		request := &trellisv1.GetCurvesRequest{
			Study: "s", Filter: filter, Points: points,
			Keep: trellisv1.Keep(rapid.IntRange(0, 3).Draw(t, "keep")),
		}
		got, err := Curves(d.Snapshot(), request)
		ok(t, err)
		maximize := spec.Objective.Direction == trellisv1.Direction_DIRECTION_MAXIMIZE
		switch {
		case request.Keep != 0:
			if got.Keep != request.Keep {
				t.Fatalf("%v is kept", got.Keep)
			}
		case maximize != (got.Keep == trellisv1.Keep_KEEP_HIGHEST):
			t.Fatalf("%v is kept", got.Keep)
		}
		wanted, longest := d.curvesOf(filter)
		if each := got.EpochsPerPoint; points > 0 && each != max(1, (longest+points-1)/points) || points == 0 && each != 1 {
			t.Fatalf("a point has %d of %d epochs, for %d points", each, longest, points)
		}
		if len(got.Trials) != len(wanted) {
			t.Fatalf("%d curves, want %d", len(got.Trials), len(wanted))
		}
		values, objectives := readFloat32s(got.Values), readFloat64s(got.Objectives)
		for i, index := range got.Trials {
			trial := wanted[index]
			if trial == nil {
				t.Fatalf("there is a curve of trial %d", index)
			}
			run, err := d.Snapshot().Run(nil, "s", trial.Run)
			ok(t, err)
			if got.Epochs[i] != run.Epochs || got.BestEpochs[i] != trial.BestEpoch || got.States[i] != byte(trial.State) ||
				!same(objectives[i], objectiveOf(trial)) {
				t.Fatalf("curve %d differs from %v: %v", i, trial, got)
			}
			losses, err := d.Snapshot().Losses(nil, "s", trial.Run)
			ok(t, err)
			for first := uint32(0); first < run.Epochs; first += got.EpochsPerPoint {
				want := keptOf(losses, first, min(run.Epochs, first+got.EpochsPerPoint), got.Keep)
				if float64(values[0]) != want && !(math.IsNaN(want) && math.IsNaN(float64(values[0]))) {
					t.Fatalf("trial %d has %v after %d epochs, want %v", index, values[0], first, want)
				}
				values = values[1:]
			}
		}
		if len(values) > 0 {
			t.Fatalf("%d values too many", len(values))
		}
	})
}

// keptOf is what is kept of the epochs from one on, before another, both counted from 0.
func keptOf(losses *trellisv1.Losses, from, to uint32, keep trellisv1.Keep) float64 {
	missing, kept := map[uint32]bool{}, math.NaN()
	for _, at := range losses.Metrics["x"].GetMissing() {
		missing[at] = true
	}
	for epoch := from; epoch < to; epoch++ {
		if missing[epoch] || int(epoch) >= len(losses.Metrics["x"].GetValues()) {
			continue
		}
		value := losses.Metrics["x"].Values[epoch]
		switch {
		case math.IsNaN(value):
		case math.IsNaN(kept), keep == trellisv1.Keep_KEEP_LAST:
			kept = value
		case keep == trellisv1.Keep_KEEP_LOWEST:
			kept = min(kept, value)
		default:
			kept = max(kept, value)
		}
	}
	return kept
}

// curvesOf are the trials by which runs are found: the best that meets the filter, or the last of a run that is open.
func (d *drawn) curvesOf(filter string) (byIndex map[uint64]*trellisv1.Trial, longest uint32) {
	byIndex, found := map[uint64]*trellisv1.Trial{}, map[string]bool{}
	add := func(trial *trellisv1.Trial) {
		if found[trial.Run] {
			return
		}
		found[trial.Run], byIndex[trial.Index] = true, trial
		run, err := d.Snapshot().Run(nil, "s", trial.Run)
		ok(d, err)
		longest = max(longest, run.Epochs)
	}
	for _, trial := range d.done(filter) {
		add(trial)
	}
	for _, trial := range d.trials(filter) {
		run, err := d.Snapshot().Run(nil, "s", trial.Run)
		ok(d, err)
		switch trial.State {
		case trellisv1.TrialState_TRIAL_STATE_SUCCEEDED, trellisv1.TrialState_TRIAL_STATE_DIVERGED:
		default:
			if run.Epochs > 0 && trial.Parameters.MaxEpochs == run.Parameters.MaxEpochs {
				add(trial)
			}
		}
	}
	return byIndex, longest
}

// TestUnknownMetric: a metric that no run has reported is refused with the one that was meant.
func TestUnknownMetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		got, err := Curves(d.Snapshot(), &trellisv1.GetCurvesRequest{Study: "s", Metric: "z"})
		if err == nil && len(got.Trials) > 0 || err != nil && !errors.Is(err, listing.ErrInvalid) {
			t.Fatalf("%d curves, %v", len(got.GetTrials()), err)
		}
	})
}
