package trainer

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

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
			p := newProgress()
			for _, loss := range test.losses {
				if p.observe(1, loss, test.rule); p.stopped != 0 {
					break
				}
			}
			if p.epoch != test.wantEpochs || p.stopped != test.wantReason || p.bestEpoch != test.wantBest {
				t.Errorf("ended after epoch %d for reason %d with best epoch %d, want %d, %d, %d",
					p.epoch, p.stopped, p.bestEpoch, test.wantEpochs, test.wantReason, test.wantBest)
			}
			if test.wantBest == 0 != math.IsNaN(p.bestLoss) {
				t.Errorf("best loss is %v with best epoch %d", p.bestLoss, p.bestEpoch)
			}
		})
	}
	t.Run("a training loss that is not finite diverges", func(t *testing.T) {
		p := newProgress()
		if p.observe(nan, 1, EarlyStopping{}); p.stopped != Diverged || p.bestEpoch != 1 {
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
		p := newProgress()
		for _, loss := range losses {
			if p.observe(0, loss, rule); p.stopped != 0 {
				break
			}
		}
		if p.epoch != want {
			t.Fatalf("stopped after epoch %d, want %d", p.epoch, want)
		}
		if lowest := slices.Min(losses[:want]); p.bestLoss != lowest {
			t.Fatalf("best loss %v, want %v", p.bestLoss, lowest)
		}
	})
}
