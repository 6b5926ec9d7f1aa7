//go:build !race

package chart

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lattice"
)

// pointStates are what becomes of a point that has a trial which is listed in a state.
var pointStates = map[trellisv1.TrialState]trellisv1.PointState{
	trellisv1.TrialState_TRIAL_STATE_PENDING:   trellisv1.PointState_POINT_STATE_PENDING,
	trellisv1.TrialState_TRIAL_STATE_RUNNING:   trellisv1.PointState_POINT_STATE_RUNNING,
	trellisv1.TrialState_TRIAL_STATE_SUCCEEDED: trellisv1.PointState_POINT_STATE_TRAINED,
	trellisv1.TrialState_TRIAL_STATE_DIVERGED:  trellisv1.PointState_POINT_STATE_DIVERGED,
	trellisv1.TrialState_TRIAL_STATE_FAILED:    trellisv1.PointState_POINT_STATE_FAILED,
	trellisv1.TrialState_TRIAL_STATE_CANCELED:  trellisv1.PointState_POINT_STATE_CANCELED,
	trellisv1.TrialState_TRIAL_STATE_PRUNED:    trellisv1.PointState_POINT_STATE_PRUNED,
}

// TestCoverage compares maps of small studies with what their trials say, in the order of the grid and over two axes. A
// study that was canceled has points that nobody has touched, and a twin of a study gets results from it. With a
// filter, maps have the trials that meet it.
func TestCoverage(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		spec := drawSpec(t)
		spec.Program.Prefix = spec.Program.Prefix || rapid.Bool().Draw(t, "shares")
		d := draw(t, spec)
		if rapid.IntRange(0, 3).Draw(t, "cancel") == 0 {
			if err := d.SetStudyState(d.next(), d.now(), "s", trellisv1.StudyState_STUDY_STATE_CANCELED); err != nil {
				t.Log(err) // It has ended.
			}
		}
		study := "s"
		if rapid.IntRange(0, 2).Draw(t, "twin") == 0 {
			study = "twin"
			twin := proto.CloneOf(spec)
			twin.Name = study
			ok(t, d.CreateStudy(d.next(), d.now(), &trellisv1.Study{Name: study, Numerics: "1", Spec: twin}))
		}
		request := &trellisv1.GetCoverageRequest{Study: study, Cells: rapid.Uint32Range(0, 9).Draw(t, "cells")}
		if rapid.Bool().Draw(t, "over axes") {
			request.X, request.Y = drawSides(t)
		}
		request.Filter = drawFilter(t)
		got, err := Coverage(d.Snapshot(), request)
		ok(t, err)
		row, err := d.Snapshot().Study(nil, study)
		ok(t, err)
		cell := func(trial *trellisv1.Trial) int {
			if request.X != "" {
				return cellIn(t, got.Y, got.Rows, valueOf(trial, request.Y))*int(got.Columns) +
					cellIn(t, got.X, got.Columns, valueOf(trial, request.X))
			}
			for c := range uint64(got.Columns) {
				from, to := c*got.Indices/uint64(got.Columns), (c+1)*got.Indices/uint64(got.Columns)
				if from <= trial.Index && trial.Index < to {
					return int(c)
				}
			}
			t.Fatalf("trial %d of %d is in none of %d cells", trial.Index, got.Indices, got.Columns)
			return 0
		}
		want := map[trellisv1.PointState][]float64{}
		add := func(state trellisv1.PointState, trial *trellisv1.Trial) {
			if want[state] == nil {
				want[state] = make([]float64, got.Columns*got.Rows)
			}
			want[state][cell(trial)]++
		}
		there := map[uint64]bool{}
		its := &drawn{T: t, Store: d.Store}
		for _, trial := range its.trialsOf(study, request.Filter) {
			there[trial.Index] = true
			state := pointStates[trial.State]
			run, err := d.Snapshot().Run(nil, study, trial.Run)
			ok(t, err)
			if state == trellisv1.PointState_POINT_STATE_TRAINED && trial.Epochs <= run.SharedEpochs {
				state = trellisv1.PointState_POINT_STATE_SHARED
			}
			add(state, trial)
		}
		if spec.Budget != nil && request.Filter == "" {
			whole := proto.CloneOf(row.Spec)
			whole.Budget = nil
			all, err := lattice.Of(whole)
			ok(t, err)
			for index, more := all.From(0); more; index, more = all.From(index + 1) {
				if !there[index] {
					trial := &trellisv1.Trial{Index: index, Parameters: all.At(index)}
					add(trellisv1.PointState_POINT_STATE_NOT_VISITED, trial)
				}
			}
		}
		for _, layer := range got.Layers {
			counts := readFloat64s(layer.Counts)
			if want[layer.State] == nil {
				t.Fatalf("%v: %v, want none", layer.State, counts)
			}
			total := 0.0
			for c, count := range counts {
				if total += count; count != want[layer.State][c] {
					t.Fatalf("%v: %v, want %v", layer.State, counts, want[layer.State])
				}
			}
			if float64(layer.Total) != math.Round(total) {
				t.Fatalf("%v: %d in all, want %v", layer.State, layer.Total, total)
			}
			delete(want, layer.State)
		}
		if len(want) > 0 {
			t.Fatalf("these are missing: %v of %v", want, got)
		}
	})
}
