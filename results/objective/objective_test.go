package objective

import (
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

var nan, inf = math.NaN(), math.Inf(1)

// TestScores of each direction and summary, with missing values and such that are not finite.
func TestScores(t *testing.T) {
	for name, test := range map[string]struct {
		values             []float64
		missing            []uint32
		lowest, highest    Score
		last, mean2, mean9 Score
	}{
		"nothing":   {},
		"one value": {[]float64{2}, nil, Score{2, 1}, Score{2, 1}, Score{2, 1}, Score{2, 1}, Score{2, 1}},
		"all missing": {
			values: []float64{0, 0}, missing: []uint32{0, 1},
		},
		"ascending": {[]float64{1, 2, 6}, nil, Score{1, 1}, Score{6, 3}, Score{6, 3}, Score{4, 3}, Score{3, 3}},
		"equal":     {[]float64{3, 3, 3}, nil, Score{3, 1}, Score{3, 1}, Score{3, 3}, Score{3, 3}, Score{3, 3}},
		"the last is missing": {
			[]float64{1, 3, 0}, []uint32{2}, Score{1, 1}, Score{3, 2}, Score{3, 2}, Score{2, 2}, Score{2, 2},
		},
		"the first is missing": {
			[]float64{0, 3, 5}, []uint32{0}, Score{3, 2}, Score{5, 3}, Score{5, 3}, Score{4, 3}, Score{4, 3},
		},
		"one between is missing": {
			[]float64{1, 0, 5}, []uint32{1}, Score{1, 1}, Score{5, 3}, Score{5, 3}, Score{3, 3}, Score{3, 3},
		},
		"negative":         {[]float64{-1, 2, -3}, nil, Score{-3, 3}, Score{2, 2}, Score{-3, 3}, Score{-0.5, 3}, Score{-2.0 / 3, 3}},
		"ends in NaN":      {[]float64{1, 2, nan}, nil, Score{1, 1}, Score{2, 2}, Score{}, Score{}, Score{}},
		"begins with +Inf": {[]float64{inf, 2, 4}, nil, Score{2, 2}, Score{4, 3}, Score{4, 3}, Score{3, 3}, Score{}},
		"-Inf between":     {[]float64{2, -inf, 4}, nil, Score{2, 1}, Score{4, 3}, Score{4, 3}, Score{}, Score{}},
		"nothing finite":   {[]float64{nan, inf}, nil, Score{}, Score{}, Score{}, Score{}, Score{}},
		"a zero":           {[]float64{0}, nil, Score{0, 1}, Score{0, 1}, Score{0, 1}, Score{0, 1}, Score{0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			values, n := Values{test.values, test.missing}, uint32(len(test.values))
			check := func(what string, o *trellisv1.Objective, want Score) {
				t.Helper()
				if got := ScoreAt(o, values, n); got != want {
					t.Errorf("%s is %v, want %v", what, got, want)
				}
			}
			check("the default", nil, test.lowest)
			check("the lowest", &trellisv1.Objective{Direction: minimize, Of: best}, test.lowest)
			check("the highest", &trellisv1.Objective{Direction: maximize}, test.highest)
			for _, direction := range []trellisv1.Direction{minimize, maximize} {
				check("the last", &trellisv1.Objective{Direction: direction, Of: last}, test.last)
				check("the mean of 2", &trellisv1.Objective{Direction: direction, Of: mean, Epochs: 2}, test.mean2)
				check("the mean of 9", &trellisv1.Objective{Direction: direction, Of: mean, Epochs: 9}, test.mean9)
			}
		})
	}
}

var anyValues = rapid.Custom(func(t *rapid.T) Values {
	number := rapid.OneOf(rapid.Float64Range(-2, 2), rapid.SampledFrom([]float64{nan, inf, -inf, 0, 1, -1}))
	values := Values{Numbers: rapid.SliceOfN(number, 0, 12).Draw(t, "values")}
	for i := range values.Numbers {
		if rapid.IntRange(0, 3).Draw(t, "missing") == 0 {
			values.Numbers[i], values.Missing = 0, append(values.Missing, uint32(i))
		}
	}
	return values
})

var anyObjective = rapid.Custom(func(t *rapid.T) *trellisv1.Objective {
	return &trellisv1.Objective{
		Direction: rapid.SampledFrom([]trellisv1.Direction{minimize, maximize}).Draw(t, "direction"),
		Of:        rapid.SampledFrom([]trellisv1.Objective_Summary{best, last, mean}).Draw(t, "of"),
		Epochs:    rapid.Uint32Range(1, 5).Draw(t, "epochs"),
	}
})

// TestMirror: to maximize values is to minimize their negatives, and a score epoch by epoch is that of all at once.
func TestMirror(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, values := anyObjective.Draw(t, "objective"), anyValues.Draw(t, "values")
		mirror, mirrored := proto.CloneOf(o), Values{slices.Clone(values.Numbers), values.Missing}
		if mirror.Direction = minimize; o.Direction == minimize {
			mirror.Direction = maximize
		}
		for i := range mirrored.Numbers {
			mirrored.Numbers[i] = -mirrored.Numbers[i]
		}
		var score Score
		for epoch := range uint32(len(values.Numbers)) {
			score = score.After(o, values, epoch, epoch+1)
			other := ScoreAt(mirror, mirrored, epoch+1)
			if score.Epoch != other.Epoch || score.Value != -other.Value {
				t.Fatalf("after epoch %d: %v, mirrored %v", epoch+1, score, other)
			}
			if at := ScoreAt(o, values, epoch+1); at != score {
				t.Fatalf("after epoch %d: %v, at once %v", epoch+1, score, at)
			}
			same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
			if a, b := Losses(o, values, epoch+1), Losses(mirror, mirrored, epoch+1); !slices.EqualFunc(a, b, same) {
				t.Fatalf("losses up to %d: %v, mirrored %v", epoch+1, a, b)
			}
		}
	})
}

// TestOf: what says no more than the default is the default.
func TestOf(t *testing.T) {
	model := func(o *trellisv1.Objective) *trellisv1.StudySpec { return &trellisv1.StudySpec{Objective: o} }
	for _, o := range []*trellisv1.Objective{
		nil, {}, {Metric: "validation_loss"}, {Direction: minimize, Of: best}, {Epochs: 3},
	} {
		if got := Of(model(o)); got != nil {
			t.Errorf("%v is %v, want the default", o, got)
		}
	}
	for _, test := range []struct{ given, want *trellisv1.Objective }{
		{
			&trellisv1.Objective{Metric: "validation_accuracy", Direction: maximize},
			&trellisv1.Objective{Metric: "validation_accuracy", Direction: maximize, Of: best},
		},
		{
			&trellisv1.Objective{Of: mean},
			&trellisv1.Objective{Metric: "validation_loss", Direction: minimize, Of: mean, Epochs: DefaultMeanEpochs},
		},
		{
			&trellisv1.Objective{Of: last, Epochs: 7},
			&trellisv1.Objective{Metric: "validation_loss", Direction: minimize, Of: last},
		},
	} {
		if got := Of(model(test.given)); !proto.Equal(got, test.want) {
			t.Errorf("%v is %v, want %v", test.given, got, test.want)
		}
	}
	program := &trellisv1.StudySpec{Program: &trellisv1.Program{}}
	if got := Of(program); got.GetMetric() != ValidationLoss {
		t.Errorf("of a program, nothing is %v", got)
	}
}

// TestAfterAll: no epoch is too late to ask for.
func TestAfterAll(t *testing.T) {
	for _, of := range []trellisv1.Objective_Summary{best, mean, last} {
		o := &trellisv1.Objective{Metric: "accuracy", Direction: maximize, Of: of, Epochs: 1}
		if got := ScoreAt(o, Values{Numbers: []float64{1, 2}}, math.MaxUint32); got != (Score{2, 2}) {
			t.Errorf("%v is %v, want 2 of epoch 2", of, got)
		}
	}
}
