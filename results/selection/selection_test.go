package selection

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/columns"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/listing"
)

// parts are conditions that filters of the model join.
var parts = []string{
	"latent_dim > 2", "learning_rate <= 2", "max_epochs == 3", "seed != 1", "latent_dim * max_epochs > 6", "index < 7", "index % 3 == 1",
	"objective < 0.5", "0.5 <= objective", "objective != 2", "objective == 0", "1.0 / objective > 0.0", "test_loss > 0", "accuracy < 0.5",
	"test_accuracy != 0.5", "epochs > 1", "best_epoch == 0", "state == 'succeeded'", "state in ['running', 'pending']", "objective < 3",
	"objective == test_loss", "epochs < max_epochs", "8 / epochs > 3", "8 / (latent_dim - 2) > 3", "true", "epochs >= 1.5", "-1 < objective",
	"state == 'pending' ? seed == 1 : objective < 1", "state.startsWith('s')", "objective > -0.5", "objective * 2.0 < max_epochs",
}

// drawFilter joins conditions.
func drawFilter(t *rapid.T, depth int) string {
	if depth == 0 || rapid.Bool().Draw(t, "part") {
		return rapid.SampledFrom(parts).Draw(t, "condition")
	}
	left := drawFilter(t, depth-1)
	switch rapid.IntRange(0, 4).Draw(t, "join") {
	case 0:
		return "!(" + left + ")"
	case 1, 2:
		return "(" + left + ") || (" + drawFilter(t, depth-1) + ")"
	}
	return "(" + left + ") && (" + drawFilter(t, depth-1) + ")"
}

// study is a grid or two, and the fields of its trials.
func drawStudy(t *rapid.T) (*lattice.Lattice, []listing.Field, listing.Ranking) {
	axis := func(label string, values ...int) *trellisv1.Axis {
		return trellisv1.AxisOf(rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, 4, rapid.ID).Draw(t, label)...)
	}
	spec := &trellisv1.StudySpec{Name: "s", Model: "synthetic", Seeds: axis("seeds", 1, 2, 3)}
	first := rapid.IntRange(1, 4).Draw(t, "first")
	for range rapid.IntRange(1, 2).Draw(t, "grids") {
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim": axis("latent_dim", 1, 2, 3, 4), "learning_rate": trellisv1.AxisOf(first, first+1),
			"weight_decay": trellisv1.AxisOf(0), "max_epochs": axis("max_epochs", 1, 2, 3, 5), "batch_size": trellisv1.AxisOf(64),
		}})
		first += 2 // Grids have nothing in common.
	}
	spec.Where = rapid.SampledFrom([]string{"", "", "latent_dim < 4"}).Draw(t, "where")
	if rapid.Bool().Draw(t, "limited") {
		spec.Order = rapid.SampledFrom([]trellisv1.Order{
			trellisv1.Order_ORDER_RANDOM, trellisv1.Order_ORDER_UNSPECIFIED,
		}).Draw(t, "order")
		spec.Budget = &trellisv1.Budget{Trials: rapid.Uint64Range(1, 30).Draw(t, "budget")}
	}
	its, err := lattice.New(&trellisv1.Study{Name: "s", Spec: spec, Numerics: "1"})
	if err != nil || !its.Disjoint() {
		t.Skip("no such study")
	}
	ranking := listing.Ranking{Maximize: rapid.Bool().Draw(t, "maximize")}
	fields := listing.RankedBy(ranking, listing.FieldsOn(grid.Parameters(spec)))
	return its, listing.WithMetrics([]string{"accuracy"}, fields), ranking
}

func indexesOf(l *lattice.Lattice) (indexes []uint64) {
	for index, more := l.From(0); more; index, more = l.From(index + 1) {
		indexes = append(indexes, index)
	}
	return indexes
}

// What is decided of trials by their columns is what the filter says of each, and so of untouched trials by their indexes.
func TestSelection(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		l, fields, ranking := drawStudy(t)
		expression := drawFilter(t, 3)
		filter, err := listing.NewFilter(expression, fields)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(expression, fields, l)
		if err != nil {
			t.Fatal(err)
		}
		indexes := indexesOf(l)
		checkTouched(t, s, filter, ranking, drawTrials(t, l, indexes))
		state := rapid.SampledFrom([]trellisv1.TrialState{
			trellisv1.TrialState_TRIAL_STATE_PENDING, trellisv1.TrialState_TRIAL_STATE_CANCELED,
		}).Draw(t, "untouched")
		open, none := s.Untouched(state)
		wanted, fails := uint64(0), false
		var met []bool
		for _, index := range indexes {
			is, err := filter(&trellisv1.Trial{Index: index, State: state, Parameters: l.At(index)})
			if fails = fails || err != nil; is {
				wanted++
			}
			met = append(met, is)
		}
		if none && (wanted > 0 || fails) {
			t.Fatalf("%s: no untouched trial meets it, want %d, one fails: %v", expression, wanted, fails)
		}
		if n, ok, _ := open.Count(l, func() error { return nil }); ok == fails || ok && n != wanted {
			t.Fatalf("%s: %d untouched trials and %v, want %d and %v", expression, n, ok, wanted, !fails)
		}
		if got, _ := open.Points(indexes); !fails {
			for i := range indexes {
				if got.Has(i) != met[i] {
					t.Fatalf("%s: untouched trial %d meets it: %v, want %v", expression, indexes[i], got.Has(i), met[i])
				}
			}
		}
	})
}

// drawTrials returns trials in all states.
func drawTrials(t *rapid.T, l *lattice.Lattice, indexes []uint64) (trials []*trellisv1.Trial) {
	losses := []float64{-1, 0, 0.5, 2, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1)}
	most := rapid.SampledFrom([]int{1, 4, len(losses)}).Draw(t, "kinds of losses")
	for _, index := range indexes {
		trial := &trellisv1.Trial{
			Index: index, State: trellisv1.TrialState(rapid.IntRange(1, 4).Draw(t, "state")), Parameters: l.At(index),
			Epochs: rapid.Uint32Range(0, 3).Draw(t, "epochs"),
		}
		if at := rapid.IntRange(-1, most-1).Draw(t, "loss"); at >= 0 {
			trial.Objective, trial.BestEpoch = &losses[at], uint32(at)
			if at%2 == 0 {
				trial.TestLoss = trial.Objective
			}
			trial.Metrics = map[string]float64{"accuracy": losses[most-1-at]}
		}
		trials = append(trials, trial)
	}
	return trials
}

func checkTouched(
	t *rapid.T, s *Selection, filter listing.Filter, ranking listing.Ranking, trials []*trellisv1.Trial,
) {
	size := rapid.IntRange(1, 100).Draw(t, "section")
	for part := range slices.Chunk(trials, size) {
		c := columns.Of(ranking, slices.Values(part))
		if s.Reads(c) {
			continue
		}
		met, undecided := s.Touched(c)
		for i, trial := range part {
			is, err := filter(trial)
			if undecided.Has(i) != (err != nil) || met.Has(i) != is {
				t.Fatalf("trial %v meets it: %v, undecided: %v, want %v and %v", trial, met.Has(i), undecided.Has(i), is, err)
			}
		}
	}
}
