package forecast

import (
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// Confidence is the confidence of all intervals.
const Confidence = 0.9

// Input is everything that a forecast depends on.
type Input struct {
	Study *Tally
	// Others are studies of the same model and data, from whose runs the forecast can learn.
	Others []*Tally
	// Itself is, among these, the study as it is, if the forecast is of what it is extended by.
	Itself *Tally
	// Workers are the workers that accept runs now.
	Workers []Worker
	// Unsuited says that there are others, but none has what a run of the study needs.
	Unsuited bool
	// Held are runs of other studies that workers train now.
	Held []Held
	// Ahead is the work that older studies have in the queue, in seconds on one slot. It is done first.
	Ahead []*trellisv1.Estimate
}

// Worker is a worker and its number of slots.
type Worker struct {
	Name  string
	Slots int
}

// Held is a run of another study, and how long it will still take.
type Held struct {
	Worker  string
	Seconds float64
}

// Outlook is a forecast, and what forecasts of younger studies need to know about the study.
type Outlook struct {
	Forecast *trellisv1.Forecast
	// Queue is the work that the study has in the queue, in seconds on one slot. It is nil if its pace is not known.
	Queue *trellisv1.Estimate
}

// How often the rest of a study is simulated.
const (
	plays = 400
	// fewestPlays is how often a large study is simulated. playedRuns is the maximum number of runs of all simulations
	// together for other studies, with those of others that hold slots.
	fewestPlays = 60
	playedRuns  = 40_000
	// alternativePlays is how many of the simulations are repeated with other numbers of slots, and fewestAlternativePlays
	// how many at least: with as many runs as a tenth of playedRuns, or more.
	alternativePlays       = 40
	fewestAlternativePlays = 10
)

// Make forecasts the rest of a study.
func Make(in Input) Outlook {
	pace := newPace(in.Study, in.Others)
	simulation := newSimulation(in, pace)
	played := make([]play, simulation.playCount(in))
	for i := range played {
		played[i] = simulation.play()
	}
	count := func(p play) float64 { return p.epochs }
	out := Outlook{Forecast: &trellisv1.Forecast{
		Epochs: estimate(played, count), Confidence: Confidence, Slots: uint32(in.slots()), Basis: in.basis(pace),
	}}
	if pace.known() {
		out.Forecast.Basis.ScaledShare = simulation.share
		simulation.time(in, played, &out)
	}
	in.Study.mayPrune(out.Forecast)
	return out
}

// slots returns how many slots the workers have.
func (in Input) slots() (n int) {
	for _, worker := range in.Workers {
		n += worker.Slots
	}
	return n
}

// trajectories returns the trajectories from which the study's early stopping is learned: its own, unfinished runs
// first, and those of other studies with the same stopping rule.
func (in Input) trajectories() []trajectory {
	all := slices.Concat(in.Study.open, in.Study.finished)
	for _, other := range in.Others {
		rule, own := other.stopping, in.Study.stopping
		if rule == nil || rule.GetMinDelta() != own.GetMinDelta() || rule.GetMetric() != own.GetMetric() ||
			rule.GetDirection() != own.GetDirection() {
			continue
		}
		all = append(all, other.finished[:min(len(other.finished), max(0, maxFinished-len(all)))]...)
	}
	return all
}

// time fills in how long the simulated work takes.
func (s *simulation) time(in Input, played []play, out *Outlook) {
	f := out.Forecast
	work := func(p play) (seconds float64) {
		seconds = p.bulk
		for _, run := range p.rest {
			seconds += run
		}
		return seconds
	}
	all := func(p play) (seconds float64) {
		seconds = work(p)
		for _, run := range p.held {
			seconds += run
		}
		return seconds
	}
	out.Queue = estimate(played, work)
	if f.Epochs.Expected > 0 {
		f.SecondsPerEpoch = estimate(played, all).Expected / f.Epochs.Expected
	}
	if in.slots() > 0 {
		f.Seconds = estimate(played, func(p play) float64 { return s.schedule(in, p).finish(p) })
	}
	f.Alternatives = s.alternatives(in, played[:s.alternativeCount(in)])
}

// estimate summarizes a value of the simulations.
func estimate(played []play, value func(play) float64) *trellisv1.Estimate {
	values := make([]float64, len(played))
	sum := 0.0
	for i, p := range played {
		values[i] = value(p)
		sum += values[i]
	}
	slices.Sort(values)
	tail := (1 - Confidence) / 2 * float64(len(values)-1)
	e := &trellisv1.Estimate{
		Expected: sum / float64(len(values)),
		Low:      values[int(math.Floor(tail))],
		High:     values[len(values)-1-int(math.Floor(tail))],
	}
	// Neither rounding nor a few outliers may put the expected value outside the interval.
	e.Low, e.High = min(e.Low, e.Expected), max(e.High, e.Expected)
	return e
}
