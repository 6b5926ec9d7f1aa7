//go:build !race

package trainer

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// observe takes in losses by a rule.
func observe(p *progress, train, validation float64, rule EarlyStopping) {
	p.observe(&Report{TrainLoss: train, ValidationLoss: validation}, &Config{EarlyStopping: rule})
}

func TestProgress(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, test := range []struct {
		name       string
		rule       EarlyStopping
		losses     []float64
		wantEpochs int
		wantReason StopReason
		wantBest   int
	}{
		{"never stops without patience", EarlyStopping{}, []float64{3, 3, 3, 3, 3, 3}, 6, 0, 1},
		{
			"stops after patience epochs in a row",
			EarlyStopping{Patience: 2},
			[]float64{3, 2, 2, 2, 1},
			4, EarlyStopped,
			2,
		},
		{"an equal loss is no improvement", EarlyStopping{Patience: 1}, []float64{3, 3, 1}, 2, EarlyStopped, 1},
		{
			"improvement starts the wait again",
			EarlyStopping{Patience: 2},
			[]float64{3, 3, 2, 2, 1, 1, 1},
			7,
			EarlyStopped, 5,
		},
		{
			"a fall of exactly MinDelta does not count",
			EarlyStopping{Patience: 1, MinDelta: 0.5},
			[]float64{3, 2.5, 1},
			2, EarlyStopped, 2,
		},
		{
			"small falls add up against the same reference",
			EarlyStopping{Patience: 2, MinDelta: 0.5},
			[]float64{3, 2.75, 2.25, 2, 1.5, 1.5, 1.5},
			7, EarlyStopped, 5,
		},
		{
			"the best epoch may be one that did not count",
			EarlyStopping{Patience: 3, MinDelta: 0.5},
			[]float64{3, 2.875, 2.75, 2.875},
			4, EarlyStopped, 3,
		},
		{"the earliest of equal losses is best", EarlyStopping{}, []float64{3, 1, 2, 1}, 4, 0, 2},
		{"NaN diverges at once", EarlyStopping{Patience: 2}, []float64{3, nan, 1}, 2, Diverged, 1},
		{"infinity diverges too", EarlyStopping{}, []float64{3, 2, inf}, 3, Diverged, 2},
		{"no finite loss leaves no best epoch", EarlyStopping{}, []float64{nan}, 1, Diverged, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProgress(&Config{})
			for _, loss := range test.losses {
				if observe(&p, 1, loss, test.rule); p.stopped != 0 {
					break
				}
			}
			if p.epoch != test.wantEpochs || p.stopped != test.wantReason || p.bestEpoch != test.wantBest {
				t.Errorf("ended after epoch %d for reason %d with best epoch %d, want %d, %d, %d",
					p.epoch, p.stopped, p.bestEpoch, test.wantEpochs, test.wantReason, test.wantBest)
			}
			if test.wantBest == 0 != math.IsNaN(p.best) {
				t.Errorf("best loss is %v with best epoch %d", p.best, p.bestEpoch)
			}
		})
	}
	t.Run("a training loss that is not finite diverges", func(t *testing.T) {
		p := newProgress(&Config{})
		if observe(&p, nan, 1, EarlyStopping{}); p.stopped != Diverged || p.bestEpoch != 1 {
			t.Errorf("got %+v, want diverged with best epoch 1", p)
		}
	})
}

// Against the definition in the doc comment of EarlyStopping, read literally.
func TestProgressMatchesDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		losses := rapid.SliceOfN(rapid.Float64Range(0, 4), 1, 40).Draw(t, "losses")
		rule := EarlyStopping{
			Patience: rapid.IntRange(0, 5).Draw(t, "patience"),
			MinDelta: rapid.Float64Range(0, 1).Draw(t, "min delta"),
		}
		want := len(losses)
		counted := 0 // the last epoch, from 0, whose loss fell enough
		for epoch := 1; epoch < len(losses); epoch++ {
			if losses[counted]-losses[epoch] > rule.MinDelta {
				counted = epoch
			}
			if rule.Patience > 0 && epoch-counted == rule.Patience {
				want = epoch + 1
				break
			}
		}
		p := newProgress(&Config{})
		for _, loss := range losses {
			if observe(&p, 0, loss, rule); p.stopped != 0 {
				break
			}
		}
		if p.epoch != want {
			t.Fatalf("stopped after epoch %d, want %d", p.epoch, want)
		}
		if lowest := slices.Min(losses[:want]); p.best != lowest {
			t.Fatalf("best loss %v, want %v", p.best, lowest)
		}
	})
}

// TestObjectives: which epoch is the best, and where a run stops, by a metric in either direction.
func TestObjectives(t *testing.T) {
	nan := math.NaN()
	accuracies := []float64{0.5, 0.75, 0.75, 0.625, 0.875, nan, 0.5}
	losses := []float64{3, 2, 4, 1, 2, 2, 2}
	for _, test := range []struct {
		name       string
		objective  Objective
		rule       EarlyStopping
		best       []int
		wantEpochs int
	}{
		{"the lowest validation loss", Objective{}, EarlyStopping{}, []int{1, 2, 2, 4, 4, 4, 4}, 7},
		{
			"the highest accuracy",
			Objective{Metric: "validation_accuracy", Maximize: true},
			EarlyStopping{},
			[]int{1, 2, 2, 2, 5, 5, 5},
			7,
		},
		{
			"the lowest accuracy",
			Objective{Metric: "validation_accuracy"},
			EarlyStopping{},
			[]int{1, 1, 1, 1, 1, 1, 1},
			7,
		},
		{
			"the latest",
			Objective{Metric: "validation_accuracy", Maximize: true, Latest: true},
			EarlyStopping{},
			[]int{1, 2, 3, 4, 5, 0, 7},
			7,
		},
		{
			"the highest train loss",
			Objective{Metric: "train_loss", Maximize: true},
			EarlyStopping{},
			[]int{1, 1, 3, 3, 3, 3, 3},
			7,
		},
		{
			"stops by accuracy",
			Objective{},
			EarlyStopping{Patience: 2, Metric: "validation_accuracy", Maximize: true},
			[]int{1, 2, 2, 4},
			4,
		},
		{
			"a rise of exactly MinDelta does not count",
			Objective{},
			EarlyStopping{Patience: 1, MinDelta: 0.25, Metric: "validation_accuracy", Maximize: true},
			[]int{1, 2},
			2,
		},
		{
			"NaN is no improvement",
			Objective{},
			EarlyStopping{Patience: 1, MinDelta: -1, Metric: "validation_accuracy", Maximize: true},
			[]int{1, 2, 2, 4, 4, 4},
			6,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := &Config{Objective: test.objective, EarlyStopping: test.rule}
			p := newProgress(config)
			var best []int
			for i, accuracy := range accuracies {
				before := p.bestEpoch
				kept := p.observe(&Report{
					TrainLoss: losses[i], ValidationLoss: losses[i],
					Metrics: map[string]float64{"validation_accuracy": accuracy},
				}, config)
				if best = append(best, p.bestEpoch); kept != (p.bestEpoch == i+1) && before != p.bestEpoch {
					t.Errorf("epoch %d: best epoch %d, kept %t", i+1, p.bestEpoch, kept)
				}
				if p.stopped != 0 {
					break
				}
			}
			if !slices.Equal(best, test.best) || p.epoch != test.wantEpochs {
				t.Errorf("best epochs %v of %d, want %v of %d", best, p.epoch, test.best, test.wantEpochs)
			}
		})
	}
}

// TestPatience: what is missing neither counts nor begins the count anew, and to maximize values is to minimize their
// negatives.
func TestPatience(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := EarlyStopping{
			Patience: rapid.IntRange(0, 4).Draw(t, "patience"), MinDelta: rapid.Float64Range(0, 1).Draw(t, "min delta"),
		}
		other := rule
		other.Maximize = true
		all, present, mirrored := NewPatience(rule), NewPatience(rule), NewPatience(other)
		for _, value := range rapid.SliceOfN(rapid.Float64Range(-4, 4), 1, 30).Draw(t, "values") {
			known := rapid.IntRange(0, 3).Draw(t, "known") > 0
			stop := all.Observe(rule, value, known)
			if mirror := mirrored.Observe(other, -value, known); mirror != stop {
				t.Fatalf("stops %t, mirrored %t", stop, mirror)
			}
			if known {
				if direct := present.Observe(rule, value, true); direct != stop {
					t.Fatalf("stops %t, without the missing ones %t", stop, direct)
				}
			} else if stop {
				t.Fatal("stops where there is no value")
			}
			if all != present {
				t.Fatalf("%v, without the missing ones %v", all, present)
			}
		}
	})
}
