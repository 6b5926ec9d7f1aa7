package forecast

import (
	"math"
	"math/rand/v2"

	trellisv1 "trellis/proto/trellis/v1"
)

// simulation simulates the rest of a study many times.
type simulation struct {
	study *Tally
	stops *improvement
	pace  *pace
	rule  *trellisv1.EarlyStopping
	// bulk has how many PENDING runs of each class are not in rest: all but the last ones of a long queue. Only their
	// sum matters.
	bulk []int
	rest []int32
	// samples is how many runs of each class represent all runs of the class in the bulk.
	samples int
	// took is how many seconds an epoch of each class takes, and diverges how likely it is to diverge, and when.
	took     []float64
	diverges []divergesAt
	// scaled is the deviation of the time of each class, in logarithms, as no network of its shape was measured; nil if
	// all were. share is how much of the time is of such classes, if nothing ends early.
	scaled []float64
	share  float64

	random *rand.Rand
	// Of the current play: coefficients and effects of the model, and how much slower everything is than expected.
	coefficients vector
	effects      []float64
	slowness     float64
	// scaling is how far off the scaling of times is, in its deviations.
	scaling float64
}

type divergesAt struct {
	chance float64
	epoch  int
}

const (
	// classSamples is how many runs of a class represent all in the bulk. bulkSamples is the maximum for all classes
	// together, but each class has at least one.
	classSamples = 4
	bulkSamples  = 512
	// seed is fixed, so that the same runs give the same forecast.
	seed = 20
)

// play is the result of one simulation.
type play struct {
	// epochs is how many epochs were trained. The work of the queue is that of the bulk and that of each run of the
	// rest, in seconds on an average slot.
	epochs     float64
	bulk       float64
	rest, held []float64
}

func newSimulation(in Input, pace *pace) *simulation {
	study := in.Study
	s := &simulation{
		study: study, pace: pace, rule: study.spec.GetEarlyStopping(), rest: study.queue.rest(),
		bulk: study.queue.counts(len(study.classes.list)), random: rand.New(rand.NewPCG(seed, 0)),
	}
	if s.rule != nil {
		s.stops = fit(in.trajectories())
	}
	inBulk := 0
	for _, count := range s.bulk {
		inBulk += min(count, 1)
	}
	s.samples = max(1, min(classSamples, bulkSamples/max(1, inBulk)))
	for _, class := range study.classes.list {
		s.took = append(s.took, pace.at(class.settings))
		chance, epoch := study.divergence.at(class.learningRate)
		s.diverges = append(s.diverges, divergesAt{chance, epoch})
	}
	s.scale()
	return s
}

// scale finds the classes of whose shape no network was measured.
func (s *simulation) scale() {
	runs := s.study.queue.counts(len(s.took))
	for _, number := range s.rest {
		runs[number]++
	}
	for _, held := range s.study.held {
		runs[held.class]++
	}
	all, scaled := 0.0, 0.0
	deviations := make([]float64, len(s.took))
	for number, count := range runs {
		class := &s.study.classes.list[number]
		seconds := float64(count) * s.took[number] * float64(max(0, class.maxEpochs-class.from))
		deviations[number] = scaledDeviation * s.pace.scaledFrom(class.settings)
		if all += seconds; deviations[number] > 0 {
			scaled += seconds
		}
	}
	if scaled > 0 {
		s.scaled, s.share = deviations, scaled/all
	}
}

// play simulates the rest once.
func (s *simulation) play() play {
	if s.stops != nil {
		s.coefficients, s.effects = s.stops.sample(s.random)
	}
	deviation := s.pace.deviation
	s.slowness = math.Exp(s.random.NormFloat64()*deviation - deviation*deviation/2)
	if s.scaled != nil {
		s.scaling = s.random.NormFloat64()
	}
	var p play
	for number, count := range s.bulk {
		if count == 0 {
			continue
		}
		samples := min(count, s.samples)
		epochs := 0.0
		for range samples {
			epochs += s.left(number)
		}
		epochs *= float64(count) / float64(samples)
		p.epochs += epochs
		p.bulk += s.seconds(number, epochs)
	}
	one := func(number int32) float64 {
		epochs := s.left(int(number))
		p.epochs += epochs
		return s.seconds(int(number), epochs)
	}
	for _, held := range s.study.held {
		p.held = append(p.held, one(held.class))
	}
	for _, number := range s.rest {
		p.rest = append(p.rest, one(number))
	}
	return p
}

// playCount returns how often the study is simulated: less often if a simulation is long, because chance averages out
// over many runs.
func (s *simulation) playCount(in Input) int {
	return max(fewestPlays, min(plays, playedRuns/s.runsOf(in)))
}

// alternativeCount returns how many of the simulations are repeated with other numbers of slots.
func (s *simulation) alternativeCount(in Input) int {
	return max(fewestAlternativePlays, min(alternativePlays, playedRuns/10/s.runsOf(in)))
}

// runsOf returns how many runs one simulation places on slots or samples, at least one.
func (s *simulation) runsOf(in Input) int {
	runs := len(s.rest) + len(s.study.held) + len(in.Held)
	for _, count := range s.bulk {
		runs += min(count, s.samples)
	}
	return max(1, runs)
}

func (s *simulation) seconds(number int, epochs float64) float64 {
	seconds := epochs * s.took[number] * s.slowness
	if s.scaled != nil {
		deviation := s.scaled[number]
		seconds *= math.Exp(s.scaling*deviation - deviation*deviation/2)
	}
	return seconds
}

// left samples how many more epochs are trained for a run of the class.
func (s *simulation) left(number int) float64 {
	class := &s.study.classes.list[number]
	last := class.maxEpochs
	if at := s.diverges[number]; at.chance > 0 && class.epochs < at.epoch && s.random.Float64() < at.chance {
		last = min(last, at.epoch)
	}
	end := max(last, class.epochs)
	if s.rule != nil && class.epochs < last {
		effect := runDeviation * s.random.NormFloat64()
		if class.trajectory != none {
			effect = s.effects[class.trajectory]
		}
		end = s.stop(class, last, effect)
	}
	return float64(max(0, end-class.from))
}

// stop samples the epoch at which a run of the class ends, by early stopping or at its last epoch.
func (s *simulation) stop(class *class, last int, effect float64) int {
	patience := int(s.rule.GetPatience())
	waited := class.waited
	if waited >= patience {
		return class.epochs
	}
	for epoch := class.epochs + 1; epoch <= last; {
		bin := int(binOf[epoch])
		end := min(last, bins[bin+1]-1)
		odds := dot(featuresOf(class.settings, bin, 0), s.coefficients) + effect
		for ; epoch <= end; epoch++ {
			if s.random.Float64() < logistic(odds+s.coefficients[waitedFeature]*waitedAge[waited]) {
				waited = 0
			} else if waited++; waited >= patience {
				return epoch
			}
		}
	}
	return last
}
