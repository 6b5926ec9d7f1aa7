package forecast

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestSpells(t *testing.T) {
	for name, test := range map[string]struct {
		times           []float32
		epochs, seconds float64
		want            []spell
	}{
		"none":                                {},
		"times of all epochs":                 {[]float32{2, 3}, 2, 5, []spell{{1, 2}, {1, 3}}},
		"times of none":                       {nil, 4, 8, []spell{{4, 8}}},
		"times of the last":                   {[]float32{0, 0, 3}, 3, 11, []spell{{2, 8}, {1, 3}}},
		"a sum that leaves nothing for some":  {[]float32{0, 3}, 2, 3, []spell{{1, 3}}},
		"the first epochs shared from others": {[]float32{0, 0, 3}, 1, 3, []spell{{1, 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := spellsOf(test.times, test.epochs, test.seconds); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestSpellsLoseNothing: however many epochs there are, spells are few and have all of their time.
func TestSpellsLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Float32Range(0.001, 100), 0, 300).Draw(t, "times")
		unknown := float64(rapid.IntRange(0, 20).Draw(t, "epochs whose time is not known"))
		seconds := unknown * 2
		for _, took := range times {
			seconds += float64(took)
		}
		spells := spellsOf(times, float64(len(times))+unknown, seconds)
		if len(spells) > maxSpells+1 {
			t.Fatalf("%d spells", len(spells))
		}
		var epochs, sum float64
		for _, s := range spells {
			epochs += s.epochs
			sum += s.seconds
		}
		if epochs != float64(len(times))+unknown || math.Abs(sum-seconds) > 1e-9*seconds {
			t.Fatalf("%v epochs in %v s, want %v in %v s", epochs, sum, float64(len(times))+unknown, seconds)
		}
	})
}

// forecastOf is what is expected of three runs of 20 epochs that one slot trains, of which the first has ended and the
// second has trained 10. times are what their epochs took, in turn.
func forecastOf(times [30]float32) float64 {
	tally := NewTally(exactSpec())
	for i, epochs := range []int{20, 10, 0} {
		run := runOf(pending, uint32(epochs))
		run.Parameters.MaxEpochs = 20
		switch epochs {
		case 20:
			run.State, run.StopReason = succeeded, trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
		case 10:
			run.State, run.Worker, run.AttemptEpochs = leased, "a", 10
		}
		took := times[min(20*i, 30):min(20*i+epochs, 30)]
		run.TrainingSeconds = 0
		for _, t := range took {
			run.TrainingSeconds += float64(t)
		}
		tally.Add(run, &trellisv1.Losses{ValidationLoss: make([]float64, epochs), Seconds: took})
	}
	return Make(Input{Study: tally, Workers: []Worker{{"a", 1}}}).Forecast.GetSeconds().GetExpected()
}

// TestBurstsPass: a burst of load counts for less than its share, wherever it was, load that comes again and again
// counts, and load that lasts is what is usual.
func TestBurstsPass(t *testing.T) {
	const usually = 30 * 2
	times := func(took func(epoch int) float32) (times [30]float32) {
		for epoch := range times {
			times[epoch] = took(epoch)
		}
		return times
	}
	slowed := func(from, to int) func(int) float32 {
		return func(epoch int) float32 {
			if from <= epoch && epoch < to {
				return 20
			}
			return 2
		}
	}
	for name, test := range map[string]struct {
		took        func(epoch int) float32
		least, most float64
	}{
		"never":            {func(int) float32 { return 2 }, 0.98, 1.02},
		"at the beginning": {slowed(0, 3), 0.98, 1.35},
		"in the middle":    {slowed(14, 17), 0.98, 1.35},
		"just now":         {slowed(27, 30), 0.98, 1.45},
		"every third epoch": {func(epoch int) float32 {
			if epoch%3 == 0 {
				return 20
			}
			return 2
		}, 3, 4.2},
		"ever since the start": {func(int) float32 { return 20 }, 9.8, 10.2},
		"ever since then":      {slowed(10, 30), 6.5, 10.2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := forecastOf(times(test.took)) / usually; got < test.least || got > test.most {
				t.Errorf("%.2f times as long as usually, want %v to %v times", got, test.least, test.most)
			}
		})
	}
}
