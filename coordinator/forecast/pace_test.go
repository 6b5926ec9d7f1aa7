package forecast

import (
	"math"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestASlowWorkerTakesLonger: of two workers of which one is twice as fast, what is left on the slow one takes longer
// than the same on the fast one.
func TestASlowWorkerTakesLonger(t *testing.T) {
	const epochs, slow, fast, left = 40, 4.0, 2.0, 20
	// on is a run of so many epochs of which each has taken some seconds on a worker, and some are left.
	on := func(worker string, seconds float64, left uint32) *trellisv1.Run {
		run := runOf(leased, epochs)
		run.Parameters.MaxEpochs = epochs + left
		run.Worker, run.TrainingSeconds = worker, seconds*epochs
		return run
	}
	workers := []Worker{{"slow", 1}, {"fast", 1}}
	seconds := func(onSlow, onFast uint32) float64 {
		study := tallyOf(exactSpec(), on("slow", slow, onSlow), on("fast", fast, onFast))
		return Make(Input{Study: study, Workers: workers}).Forecast.GetSeconds().GetExpected()
	}
	// A third of the difference is not believed yet: the mean epoch takes 3 s, and those that were measured weigh as
	// much as two thirds.
	const trust = float64(trustedEpochs) / (epochs + trustedEpochs)
	mean := (slow + fast) / 2
	for name, test := range map[string]struct{ got, want float64 }{
		"on the slow worker": {seconds(left, 1), left * (slow - trust*(slow-mean))},
		"on the fast worker": {seconds(1, left), left * (fast + trust*(mean-fast))},
	} {
		if math.Abs(test.got-test.want) > 0.03*test.want {
			t.Errorf("%d epochs %s are forecast to take %.1f s, want about %.1f", left, name, test.got, test.want)
		}
	}
}

// classifier is a run of a classifier, of so many epochs that have taken some seconds each.
func classifier(fineTune, shift int64, epochs uint32, seconds float64) *trellisv1.Run {
	run := runOf(leased, epochs)
	run.Parameters.Values["fine_tune"] = trellisv1.IntegerValue(fineTune)
	run.Parameters.Values["shift"] = trellisv1.IntegerValue(shift)
	run.TrainingSeconds = seconds * float64(epochs)
	return run
}

// Epochs with a frozen encoder, a fine-tuned one, and one of moved images are not averaged: each family has its own
// times, however few, and one that was not measured is scaled.
func TestFamiliesOfClassifiers(t *testing.T) {
	runs := []*trellisv1.Run{
		classifier(0, 0, 1000, 0.1), classifier(0, 0, 1000, 0.1), classifier(1, 0, 2, 30), classifier(1, 2, 2, 30),
		classifier(0, 2, 2, 10),
	}
	for name, test := range map[string]struct {
		measured []*trellisv1.Run
		want     [3]float64 // frozen, moved, fine-tuned
		known    [3]bool
	}{
		"all":        {runs, [3]float64{0.1, 10, 30}, [3]bool{true, true, true}},
		"frozen":     {runs[:1], [3]float64{0.1, 0.1 * math.Exp2(5.5), 0.1 * math.Exp2(7)}, [3]bool{true, false, false}},
		"fine-tuned": {runs[2:3], [3]float64{30 / math.Exp2(7), 30 / math.Exp2(1.5), 30}, [3]bool{false, false, true}},
	} {
		p := newPace(tallyOf(exactSpec(), test.measured...), nil)
		for i, run := range []*trellisv1.Run{runs[0], runs[4], runs[2]} {
			at := settingsOf(run.Parameters, false)
			if got := p.at(at); math.Abs(got-test.want[i]) > 0.01*test.want[i] {
				t.Errorf("%s measured: an epoch of family %d takes %.3g s, want %.3g", name, at.family(), got, test.want[i])
			}
			if known := p.scaledFrom(at) == 0; known != test.known[i] {
				t.Errorf("%s measured: family %d is said to be measured: %t", name, at.family(), known)
			}
		}
	}
}

// A shape that was measured only in another family is as uncertain as one that was not: its time is scaled from its own
// family's.
func TestShapesAreMeasuredInTheirFamily(t *testing.T) {
	of := func(fineTune, filters int64) *trellisv1.Run {
		run := classifier(fineTune, 0, 10, 1)
		run.Parameters.Values["filters"] = trellisv1.IntegerValue(filters)
		return run
	}
	p := newPace(tallyOf(exactSpec(), of(0, 64), of(1, 4)), nil)
	// Four doublings of filters are eight of the work, and another family's encoder is 7.
	if got := p.scaledFrom(settingsOf(of(1, 64).Parameters, false)); got != 8 {
		t.Errorf("the time is scaled over %g doublings, want 8", got)
	}
}

// However many runs there are, those of different families don't count as equal: half of what is left takes as long as
// a fine-tuned encoder.
func TestFamiliesOfManyClassifiers(t *testing.T) {
	const frozen, tuned, runs = 0.1, 10.0, 12_000
	tally := tallyOf(exactSpec(), classifier(0, 0, 10, frozen), classifier(1, 0, 10, tuned))
	for i := range runs {
		run := classifier(int64(i%2), 0, 0, 0)
		run.State, run.Worker = pending, ""
		run.Parameters.Values["learning_rate"] = trellisv1.NumberValue(math.Pow(10, float64(i/2%60-30)))
		run.Parameters.Values["weight_decay"] = trellisv1.NumberValue(math.Pow(10, float64(i/120-50)))
		tally.Add(run, nil)
	}
	if tally.classes.step < 4 {
		t.Errorf("%d classes in steps of %g, not of 4 or more", len(tally.classes.list), tally.classes.step)
	}
	const want = (frozen + tuned) / 2
	got := Make(Input{Study: tally}).Forecast.GetSecondsPerEpoch()
	if math.Abs(got-want) > 0.02*want {
		t.Errorf("an epoch is forecast to take %.3g s, want %.3g", got, want)
	}
}

// A program's parameters mean what it likes: one that is called fine_tune or shift doesn't scale its times.
func TestFamiliesAreNotOfPrograms(t *testing.T) {
	spec := exactSpec()
	spec.Model, spec.Program = "", &trellisv1.Program{Command: []string{"x"}}
	for name, other := range map[string][2]int64{"fine_tune": {1, 0}, "shift": {0, 3}} {
		left := classifier(other[0], other[1], 0, 0)
		left.State, left.Worker = pending, ""
		tally := tallyOf(spec, classifier(0, 0, 10, 10), left)
		if f := Make(Input{Study: tally}).Forecast; math.Abs(f.GetSecondsPerEpoch()-10) > 0.5 || f.GetBasis().GetScaledShare() > 0 {
			t.Errorf("with another %s, an epoch is forecast to take %.3g s, want 10: %v", name, f.GetSecondsPerEpoch(), f.GetBasis())
		}
	}
}
