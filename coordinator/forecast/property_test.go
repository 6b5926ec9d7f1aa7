package forecast

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// anyRun draws a run and its losses.
func anyRun(t *rapid.T) (*trellisv1.Run, *trellisv1.Losses) {
	maxEpochs := rapid.Uint32Range(1, 40).Draw(t, "max_epochs")
	run := &trellisv1.Run{
		Parameters: &trellisv1.Parameters{MaxEpochs: maxEpochs, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": rapid.SampledFrom([]uint32{1, 16, 784}).Draw(t, "latent_dim"), "learning_rate": rapid.SampledFrom([]float64{1e-4, 1e-3, 1000}).Draw(t, "learning_rate"), "weight_decay": rapid.SampledFrom([]float64{0, 1e-4}).Draw(t, "weight_decay"), "batch_size": 256})},
		State: rapid.SampledFrom([]trellisv1.RunState{
			pending, leased, succeeded, trellisv1.RunState_RUN_STATE_FAILED, trellisv1.RunState_RUN_STATE_PRUNED,
		}).Draw(t, "state"),
		Epochs: rapid.Uint32Range(0, maxEpochs).Draw(t, "epochs"),
	}
	losses := &trellisv1.Losses{}
	for range run.Epochs {
		losses.ValidationLoss = append(losses.ValidationLoss, rapid.Float64Range(0, 1).Draw(t, "loss"))
		run.TrainingSeconds += rapid.Float64Range(0, 10).Draw(t, "seconds")
	}
	switch run.State {
	case leased:
		run.Worker = rapid.SampledFrom([]string{"a", "b", "gone"}).Draw(t, "worker")
		run.AttemptEpochs = rapid.Uint32Range(0, run.Epochs).Draw(t, "attempt_epochs")
	case succeeded:
		run.StopReason = rapid.SampledFrom([]trellisv1.StopReason{
			trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, trellisv1.StopReason_STOP_REASON_EARLY_STOPPING,
			trellisv1.StopReason_STOP_REASON_DIVERGED,
		}).Draw(t, "stop_reason")
	}
	return run, losses
}

func checkEstimate(t *rapid.T, what string, e *trellisv1.Estimate, most float64) {
	if e == nil {
		return
	}
	if !(0 <= e.Low && e.Low <= e.Expected && e.Expected <= e.High && e.High <= most) {
		t.Fatalf("%s are %v, at most %v", what, e, most)
	}
}

func TestForecastsAreOrderlyWhateverHasHappened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := exactSpec()
		if rapid.Bool().Draw(t, "early stopping") {
			spec.EarlyStopping = &trellisv1.EarlyStopping{
				Patience: rapid.Uint32Range(1, 5).Draw(t, "patience"),
				MinDelta: 1e-5,
			}
		}
		tally, left := NewTally(spec), 0.0
		for range rapid.IntRange(0, 8).Draw(t, "runs") {
			run, losses := anyRun(t)
			tally.Add(run, losses)
			switch run.State {
			case pending:
				left += float64(run.Parameters.MaxEpochs)
			case leased:
				left += float64(run.Parameters.MaxEpochs - run.AttemptEpochs)
			}
		}
		in := Input{Study: tally, Workers: []Worker{{"a", 2}, {"b", rapid.IntRange(0, 3).Draw(t, "slots of b")}}}
		f := Make(in).Forecast
		checkEstimate(t, "epochs", f.Epochs, left+1e-9)
		checkEstimate(t, "seconds", f.Seconds, math.MaxFloat64)
		for i, a := range f.Alternatives {
			if i > 0 && a.Seconds > f.Alternatives[i-1].Seconds*(1+1e-12) {
				t.Fatalf("%d slots take longer than fewer do: %v", a.Slots, f.Alternatives)
			}
		}
		if again := Make(in).Forecast; !proto.Equal(f, again) {
			t.Fatalf("twice the same gives %v and %v", f, again)
		}
	})
}

// anyPlay draws what is left of a study.
func anyPlay(t *rapid.T) play {
	some := func(name string) []float64 { return rapid.SliceOfN(rapid.Float64Range(0, 100), 0, 8).Draw(t, name) }
	return play{bulk: rapid.SampledFrom([]float64{0, 10, 500}).Draw(t, "bulk"), rest: some("rest"), held: some("held")}
}

func TestMoreSlotsAreNeverLaterAndMoreWorkNeverEarlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &simulation{slowness: 1}
		p, n := anyPlay(t), rapid.IntRange(1, 6).Draw(t, "slots")
		in := Input{
			Held:  []Held{{"a", rapid.Float64Range(0, 100).Draw(t, "held by another")}},
			Ahead: []*trellisv1.Estimate{{Expected: rapid.SampledFrom([]float64{0, 77}).Draw(t, "ahead")}},
		}
		finish := s.anew(in, p, n).finish(p)
		if more := s.anew(in, p, n+1).finish(p); more > finish+1e-9 {
			t.Fatalf("%d slots are done at %v, %d at %v", n, finish, n+1, more)
		}
		longer := play{
			bulk: p.bulk, held: p.held,
			rest: append(slices.Clone(p.rest), rapid.Float64Range(0, 50).Draw(t, "one more")),
		}
		if len(p.rest) > 0 {
			longer.rest[rapid.IntRange(0, len(p.rest)-1).Draw(t, "which")] += rapid.Float64Range(0, 50).Draw(t,
				"longer by")
		}
		if later := s.anew(in, longer, n).finish(longer); later < finish-1e-9 {
			t.Fatalf("%v is done at %v, %v at %v", p, finish, longer, later)
		}
	})
}

// TestPouringIsRunningManySmallRuns compares with giving small parts to the slots one by one.
func TestPouringIsRunningManySmallRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const parts = 20_000
		var poured slots
		for range rapid.IntRange(1, 6).Draw(t, "slots") {
			poured = append(poured, slot{
				rapid.Float64Range(0, 100).Draw(t, "free"),
				rapid.Float64Range(0.5, 2).Draw(t, "factor"),
			})
		}
		poured.order()
		ran := slices.Clone(poured)
		work := rapid.Float64Range(1, 300).Draw(t, "work")
		end, want := poured.pour(work), 0.0
		for range parts {
			want = max(want, ran.run(work/parts))
		}
		if math.Abs(end-want) > 3*work/parts {
			t.Fatalf("poured it ends at %v, in parts at %v", end, want)
		}
	})
}

// TestFitFindsWhatMadeTheRuns fits runs that the model itself has drawn, with a fixed seed.
func TestFitFindsWhatMadeTheRuns(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	truth := vector{-0.5, -1.7, -2, 0.2, 0.1, 0.3, 0.4}
	var drawn []trajectory
	for i := range 80 {
		at := settings{latent: float64(i%4 - 2), learningRate: float64(i%3 - 1), weightDecay: float64(i % 2), batch: float64(i % 5)}
		effect := runDeviation * random.NormFloat64()
		run, waited := trajectory{settings: at}, 0
		for epoch := 1; epoch <= 150 && waited < 10; epoch++ {
			c := run.cell(int(binOf[epoch]), waited)
			c.epochs++
			if random.Float64() < logistic(dot(featuresOf(at, c.bin, waited), truth)+effect) {
				c.improved++
				waited = 0
			} else {
				waited++
			}
		}
		drawn = append(drawn, run)
	}
	model := fit(drawn)
	deviations := vector{}
	for range 1000 {
		coefficients, _ := model.sample(random)
		for k := range deviations {
			deviations[k] += math.Pow(coefficients[k]-model.mean[k], 2) / 1000
		}
	}
	for k := range truth {
		if off, deviation := model.mean[k]-truth[k], math.Sqrt(deviations[k]); math.Abs(off) > 3*deviation ||
			deviation > 0.3 {
			t.Errorf("coefficient %d is fitted as %.2f +- %.2f, and was %.2f", k, model.mean[k], deviation, truth[k])
		}
	}
}

func TestManyRunsTakeBoundedTimeAndRoom(t *testing.T) {
	tally := manyRuns(200_000)
	if n := len(tally.classes.list); n > exactClasses+16*coarseClasses {
		t.Errorf("%d classes", n)
	}
	if len(tally.finished) > maxFinished || len(tally.measured) > maxMeasured {
		t.Errorf("%d trajectories, %d measurements", len(tally.finished), len(tally.measured))
	}
	f := Make(Input{Study: tally, Workers: []Worker{{"w0", 64}}}).Forecast
	// 199,000 runs of 100 epochs of 1 s on 64 slots. Each run improves for 50 epochs, then no more: patience ends it at
	// 60.
	if want := 199_000 * 60 / 64.0; math.Abs(f.GetSeconds().GetExpected()/want-1) > 0.15 {
		t.Errorf("forecast %v, want about %v", f, want)
	}
}

// manyRuns has a study of n runs, each of other settings, of which 1000 have ended.
func manyRuns(n int) *Tally {
	spec := exactSpec()
	spec.EarlyStopping = &trellisv1.EarlyStopping{Patience: 10, MinDelta: 1e-5}
	losses := &trellisv1.Losses{}
	for epoch := range 60 {
		losses.ValidationLoss = append(losses.ValidationLoss, 1-0.01*float64(min(epoch, 49)))
	}
	tally := NewTally(spec)
	for i := range n {
		run := &trellisv1.Run{State: pending, Parameters: &trellisv1.Parameters{MaxEpochs: 100, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": uint32(i%16 + 1), "learning_rate": 1e-3 * (1 + float64(i)/float64(n)), "weight_decay": 1e-5, "batch_size": 256})}}
		if i%(n/1000) != 0 {
			tally.Add(run, nil)
			continue
		}
		run.State, run.Epochs, run.TrainingSeconds, run.ModifyIndex = succeeded, 60, 60, uint64(i)
		run.StopReason = trellisv1.StopReason_STOP_REASON_EARLY_STOPPING
		tally.Add(run, losses)
	}
	return tally
}

func BenchmarkForecast(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("tally of %d runs", n), func(b *testing.B) {
			for b.Loop() {
				manyRuns(n)
			}
		})
		tally := manyRuns(n)
		for _, slots := range []int{2, 10_000} {
			b.Run(fmt.Sprintf("forecast of %d runs on %d slots", n, slots), func(b *testing.B) {
				for b.Loop() {
					Make(Input{Study: tally, Workers: []Worker{{"w0", slots}}})
				}
			})
		}
	}
}
