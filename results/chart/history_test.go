//go:build !race

package chart

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestHistory compares the steps of small studies with the trials in the order in which they were done.
func TestHistory(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		spec := drawSpec(t)
		d := draw(t, spec)
		got, err := History(d.Snapshot(), &trellisv1.GetHistoryRequest{Study: "s"})
		ok(t, err)
		type doneTrial struct {
			*trellisv1.Trial
			end  uint64
			rank int
		}
		var done []doneTrial
		for rank, trial := range d.done("") {
			run, err := d.Snapshot().Run(nil, "s", trial.Run)
			ok(t, err)
			done = append(done, doneTrial{trial, run.ModifyIndex, rank})
		}
		slices.SortFunc(done, func(a, b doneTrial) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.rank, b.rank)) })
		doneUntil := func(index uint64) (n uint64) {
			for _, its := range done {
				if its.end <= index {
					n++
				}
			}
			return n
		}
		best, value, steps := len(done), math.NaN(), got.Steps
		for _, its := range done {
			if its.rank >= best || math.IsNaN(objectiveOf(its.Trial)) {
				continue
			}
			best = its.rank
			if *its.Objective == value {
				continue // It only ranks first among equals.
			}
			value = *its.Objective
			if len(steps) == 0 || steps[0].Trial != its.Index || steps[0].Objective != *its.Objective ||
				steps[0].Done != doneUntil(its.end) || steps[0].At.Index != its.end {
				t.Fatalf("%v, want trial %d, %v, done %d", steps, its.Index, *its.Objective, doneUntil(its.end))
			}
			if at := steps[0].At; at.Time.AsTime() != timeOf(its.end).AsTime() || at.WithinSeconds != 0 {
				t.Fatalf("command %d was at %v, want %v", its.end, at, timeOf(its.end).AsTime())
			}
			steps = steps[1:]
		}
		if len(steps) > 0 || !got.Basis.Exact || got.StepsTotal != uint64(len(got.Steps)) {
			t.Fatalf("%v is too much: %v", steps, got)
		}
		for _, its := range got.Done {
			if its.Done != doneUntil(its.At.Index) {
				t.Fatalf("%v, want %d", its, doneUntil(its.At.Index))
			}
		}
		if n := len(got.Done); n > 0 && got.Done[n-1].Done != uint64(len(done)) {
			t.Fatalf("%d at the end, want %d", got.Done[n-1].Done, len(done))
		}
	})
}
