package forecast

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
)

// Short names of states.
const (
	pending   = trellisv1.RunState_RUN_STATE_PENDING
	leased    = trellisv1.RunState_RUN_STATE_LEASED
	succeeded = trellisv1.RunState_RUN_STATE_SUCCEEDED
)

// runOf is a run of 10 epochs at most, of which each takes 2 seconds.
func runOf(state trellisv1.RunState, epochs uint32) *trellisv1.Run {
	run := &trellisv1.Run{
		Parameters: &trellisv1.Parameters{MaxEpochs: 10, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 16, "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 256})},
		State:      state, Epochs: epochs, TrainingSeconds: 2 * float64(epochs),
	}
	if state == leased {
		run.Worker, run.AttemptEpochs = "a", epochs
	}
	return run
}

func exactSpec() *trellisv1.StudySpec {
	return &trellisv1.StudySpec{Model: "conv-autoencoder", Split: &trellisv1.Split{Train: 50_000, Validation: 10_000}}
}

func tallyOf(spec *trellisv1.StudySpec, runs ...*trellisv1.Run) *Tally {
	tally := NewTally(spec)
	for _, run := range runs {
		tally.Add(run, nil)
	}
	return tally
}

// near says whether an estimate is what is wanted, with room for what the pace may be off.
func near(e *trellisv1.Estimate, want float64) bool {
	return math.Abs(e.GetExpected()-want) <= 0.02*want && e.GetLow() <= want && want <= e.GetHigh() &&
		e.GetHigh()-e.GetLow() <= 0.4*want
}

func TestWithoutEarlyStoppingItIsArithmetic(t *testing.T) {
	one, two := []Worker{{"a", 1}}, []Worker{{"a", 2}}
	done := runOf(succeeded, 10)
	for name, test := range map[string]struct {
		runs            []*trellisv1.Run
		workers         []Worker
		held            []Held
		ahead           float64
		epochs, seconds float64
	}{
		"all ended": {runs: []*trellisv1.Run{done, done}, workers: one},
		"one begun": {
			runs: []*trellisv1.Run{done, runOf(leased, 4)}, workers: one, epochs: 6,
			seconds: 12,
		},
		"one begun and one pending": {
			runs: []*trellisv1.Run{runOf(leased, 4), runOf(pending, 0)}, workers: one,
			epochs: 16, seconds: 32,
		},
		"on two slots": {
			runs: []*trellisv1.Run{runOf(leased, 4), runOf(pending, 0)}, workers: two,
			epochs: 16, seconds: 20,
		},
		"three on two slots": {runs: []*trellisv1.Run{
			runOf(leased, 4), runOf(pending, 0),
			runOf(pending, 0),
		}, workers: two, epochs: 26, seconds: 32},
		"after an older study": {
			runs: []*trellisv1.Run{done, runOf(pending, 0)}, workers: one, ahead: 30,
			epochs: 10, seconds: 50,
		},
		"beside another study": {
			runs: []*trellisv1.Run{done, runOf(pending, 0)}, workers: two,
			held: []Held{{"a", 100}}, epochs: 10, seconds: 20,
		},
		"when another study's run ends": {
			runs: []*trellisv1.Run{done, runOf(pending, 0)}, workers: one,
			held: []Held{{"a", 7}}, epochs: 10, seconds: 27,
		},
		"on a worker that is leaving": {
			runs: []*trellisv1.Run{runOf(leased, 4)}, workers: []Worker{{"b", 1}},
			epochs: 6, seconds: 12,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Study: tallyOf(exactSpec(), test.runs...), Workers: test.workers, Held: test.held}
			if test.ahead > 0 {
				in.Ahead = []*trellisv1.Estimate{{Expected: test.ahead}}
			}
			f := Make(in).Forecast
			if said := f.GetBasis().GetAfterOthers(); said != (test.ahead > 0) {
				t.Errorf("%v s are ahead, and the forecast is based on %v", test.ahead, f.GetBasis())
			}
			if e := f.GetEpochs(); e.GetExpected() != test.epochs || e.GetLow() != test.epochs ||
				e.GetHigh() != test.epochs {
				t.Errorf("%v epochs are left, want exactly %v", e, test.epochs)
			}
			if !near(f.GetSeconds(), test.seconds) {
				t.Errorf("it takes %v, want about %v", f.GetSeconds(), test.seconds)
			}
			if test.epochs > 0 && math.Abs(f.GetSecondsPerEpoch()-2) > 0.05 {
				t.Errorf("an epoch takes %v s, want 2", f.GetSecondsPerEpoch())
			}
		})
	}
}

func TestWhatIsUnknownIsNotSaid(t *testing.T) {
	workers := []Worker{{"a", 2}}
	fresh := runOf(pending, 0)
	f := Make(Input{Study: tallyOf(exactSpec(), fresh), Workers: workers}).Forecast
	if f.GetSeconds() != nil || f.GetAlternatives() != nil || f.GetSecondsPerEpoch() != 0 ||
		f.GetEpochs().GetExpected() != 10 {
		t.Errorf("nothing is known of how long an epoch takes, and the forecast is %v", f)
	}
	if b := f.GetBasis(); b.GetEpochs() != 0 || b.GetOtherEpochs() != 0 || b.GetEpochTime() {
		t.Errorf("basis: %v", b)
	}
	f = Make(Input{Study: tallyOf(exactSpec(), runOf(succeeded, 10), fresh)}).Forecast
	if f.GetSeconds() != nil || f.GetSlots() != 0 || len(f.GetAlternatives()) != 1 {
		t.Errorf("there are no slots, and the forecast is %v", f)
	}
	spec := exactSpec()
	spec.Model, spec.Synthetic = "synthetic", &trellisv1.Synthetic{EpochTime: durationpb.New(3 * time.Second)}
	f = Make(Input{Study: tallyOf(spec, fresh), Workers: workers}).Forecast
	if !near(f.GetSeconds(), 30) || !f.GetBasis().GetEpochTime() {
		t.Errorf("10 epochs of 3 seconds are forecast to be %v, from %v", f.GetSeconds(), f.GetBasis())
	}
}

// TestCheckpointsSayWhereTrainingGoesOn: what comes after a checkpoint is trained again.
func TestCheckpointsSayWhereTrainingGoesOn(t *testing.T) {
	run := runOf(pending, 9)
	run.Checkpoints = []*trellisv1.Checkpoint{{Epoch: 3}, {Epoch: 5}}
	f := Make(Input{Study: tallyOf(exactSpec(), run), Workers: []Worker{{"a", 1}}}).Forecast
	if f.GetEpochs().GetExpected() != 5 || !near(f.GetSeconds(), 10) {
		t.Errorf("5 epochs of 2 seconds are forecast to be %v", f)
	}
}

func TestOtherStudiesTellHowLongItTakes(t *testing.T) {
	half := exactSpec()
	half.Split = &trellisv1.Split{Train: 25_000, Validation: 5_000}
	f := Make(Input{
		Study: tallyOf(half, runOf(pending, 0)), Others: []*Tally{tallyOf(exactSpec(), runOf(succeeded, 10))},
		Workers: []Worker{{"a", 1}},
	}).Forecast
	if !near(f.GetSeconds(), 10) || f.GetBasis().GetOtherEpochs() != 10 || f.GetBasis().GetOtherStudies() != 1 {
		t.Errorf("10 epochs of half the images, of which all took 2 seconds: %v", f)
	}
}

// Networks of other shapes take as many times as long as they have more operations, about: the forecast says that they
// were not measured, and its interval is the wider the more they differ.
func TestLargerNetworksTakeLonger(t *testing.T) {
	shaped := func(state trellisv1.RunState, epochs uint32, filters, kernel, depth int) *trellisv1.Run {
		run := runOf(state, epochs)
		for name, value := range trellisv1.ValuesOf(map[string]any{"filters": filters, "kernel": kernel, "depth": depth}) {
			run.Parameters.Values[name] = value
		}
		return run
	}
	for _, test := range []struct {
		filters, kernel, depth int
		seconds                float64
	}{{8, 3, 3, 20}, {16, 3, 3, 80}, {8, 3, 5, 40}, {4, 3, 2, 2.5}, {16, 6, 3, 320}} {
		f := Make(Input{
			Study:  tallyOf(exactSpec(), shaped(pending, 0, test.filters, test.kernel, test.depth)),
			Others: []*Tally{tallyOf(exactSpec(), shaped(succeeded, 10, 8, 3, 3))}, Workers: []Worker{{"a", 1}},
		}).Forecast
		its := f.GetSeconds()
		doublings := math.Abs(math.Log2(test.seconds / 20))
		least := math.Exp(1.2 * scaledDeviation * doublings)
		if share := f.GetBasis().GetScaledShare(); doublings == 0 && (!near(its, test.seconds) || share != 0) ||
			doublings > 0 && share != 1 {
			t.Errorf("%+v: 10 epochs are forecast to take %v, %v of it scaled", test, its, share)
		}
		if math.Abs(its.GetExpected()/test.seconds-1) > 0.1 || its.GetHigh() < least*its.GetExpected() ||
			its.GetLow() > its.GetExpected()/least {
			t.Errorf("%+v: 10 epochs are forecast to take %v", test, its)
		}
	}
}

// A network of another shape was not measured, though it may have as many operations.
func TestEachAxisOfAShapeIsMeasured(t *testing.T) {
	shaped := func(state trellisv1.RunState, epochs uint32, shape [4]int) *trellisv1.Run {
		run := runOf(state, epochs)
		for i, name := range []string{"filters", "kernel", "depth", "hidden"} {
			run.Parameters.Values[name] = trellisv1.ValueOf(shape[i])
		}
		return run
	}
	for _, test := range []struct {
		measured, planned [4]int
		// scaled is how many doublings the interval is the wider for.
		scaled float64
	}{
		{[4]int{8, 3, 2, 64}, [4]int{8, 3, 2, 64}, 0},
		{[4]int{8, 3, 2, 64}, [4]int{4, 3, 5, 64}, 4},
		{[4]int{8, 4, 2, 64}, [4]int{16, 2, 2, 64}, 4},
		{[4]int{8, 3, 2, 64}, [4]int{8, 3, 2, 4096}, 6},
		{[4]int{8, 3, 2, 64}, [4]int{8, 3, 2, 32}, 1},
		{[4]int{8, 3, 2, 64}, [4]int{8, 3, 1, 64}, 1},
		{[4]int{8, 1, 2, 64}, [4]int{8, 2, 2, 64}, 2},
	} {
		f := Make(Input{
			Study:  tallyOf(exactSpec(), shaped(pending, 0, test.planned)),
			Others: []*Tally{tallyOf(exactSpec(), shaped(succeeded, 10, test.measured))}, Workers: []Worker{{"a", 1}},
		}).Forecast
		its, share := f.GetSeconds(), f.GetBasis().GetScaledShare()
		if least := math.Exp(1.2 * scaledDeviation * test.scaled); share != min(1, test.scaled) ||
			test.scaled > 0 && its.GetHigh() < least*its.GetExpected() {
			t.Errorf("%v from %v is forecast to take %v, %v of it scaled", test.planned, test.measured, its, share)
		}
	}
}

func TestAlternativesEndWhereMoreSlotsAreOfNoUse(t *testing.T) {
	runs := []*trellisv1.Run{runOf(succeeded, 10)}
	for range 12 {
		runs = append(runs, runOf(pending, 0))
	}
	f := Make(Input{Study: tallyOf(exactSpec(), runs...), Workers: []Worker{{"a", 3}}}).Forecast
	want := []*trellisv1.Forecast_Alternative{
		{Slots: 1, Seconds: 240},
		{Slots: 2, Seconds: 120},
		{Slots: 4, Seconds: 60},
		{Slots: 8, Seconds: 40},
		{Slots: 16, Seconds: 20},
	}
	if len(f.GetAlternatives()) != len(want) {
		t.Fatalf("alternatives are %v", f.GetAlternatives())
	}
	for i, a := range f.GetAlternatives() {
		if a.GetSlots() != want[i].GetSlots() || math.Abs(a.GetSeconds()/want[i].GetSeconds()-1) > 0.03 {
			t.Errorf("alternative %v, want %v", a, want[i])
		}
	}
}

func TestPruningLowersTheLowerEnds(t *testing.T) {
	spec := exactSpec()
	runs := []*trellisv1.Run{runOf(succeeded, 10), runOf(pending, 0), runOf(leased, 1), runOf(leased, 5)}
	spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{
		MinEpochs:       2,
		ReductionFactor: 3,
	}}}
	f := Make(Input{Study: tallyOf(spec, runs...), Workers: []Worker{{"a", 2}}}).Forecast
	if e := f.GetEpochs(); e.GetExpected() != 24 || math.Abs(e.GetLow()-3) > 1e-9 || e.GetHigh() != 24 {
		t.Errorf("of 24 epochs at most, 3 come before a run is judged; the forecast is %v", e)
	}
	if s := f.GetSeconds(); s.GetLow() > s.GetExpected()/5 {
		t.Errorf("pruning may save time; the forecast is %v", s)
	}
}
