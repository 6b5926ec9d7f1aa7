package forecast

import (
	"cmp"
	"math"
	"slices"
)

// measurement says how long the epochs of one run took.
type measurement struct {
	settings
	epochs float64
	spells []spell
	// images is how many images an epoch processes, in units of one training image.
	images float64
	// changed is when the run last changed: the log index.
	changed uint64
	// worker is set while the run is trained.
	worker string
}

// Validating an image takes about a third of the time of training on it, because there is no backward pass.
const validationShare = 1.0 / 3

// How measurements are weighted.
const (
	// recent is the minimum number of epochs that have full weight. Older epochs weigh less, the more epochs have been
	// measured since, because machines are busier at some times than at others. The more epochs there are, the longer
	// the future is that they must predict. So at least a quarter of all epochs counts as recent.
	recent      = 100
	recentShare = 0.25
	// otherStudy is the weight of an epoch of another study.
	otherStudy = 0.05
	// paceWidth says how many doublings of latent dimension or batch size apart settings still take a similar time: the
	// standard deviation of a normal curve.
	paceWidth = 1
	// farAway is the minimum weight of other settings, so that they count where nothing else is known.
	farAway = 1e-3
	// loadDeviation is the assumed deviation of runs' paces, in logarithms, before any have been measured. It counts as
	// much as loadRuns runs.
	loadDeviation = 0.06
	loadRuns      = 4
	// scaledDeviation is the deviation of the time of a network of another shape, in logarithms, for each doubling of
	// the work from the nearest shape that was measured, and sameShape how much less than a doubling is the same shape.
	scaledDeviation = 0.12
	sameShape       = 1e-9
	// loadLast is how many runs in a row are trained under the same load.
	loadLast = 2
	// trustedEpochs is how many epochs a worker must have trained before half of its difference from others counts.
	trustedEpochs = 20
)

// pace estimates how long an epoch takes.
type pace struct {
	measured []weighted
	// families are those that were measured.
	families map[family]bool
	// images is how many images an epoch of the study processes.
	images float64
	// fixed is the time of an epoch according to the study's spec. It counts as one measured epoch.
	fixed float64
	// deviation is the uncertainty of the future pace, in logarithms. doubt is the part of its square that is due to
	// bursts of load.
	deviation, doubt float64
	// workers has, by worker name, how much longer than on average epochs take there, as a factor.
	workers map[string]float64
}

type weighted struct {
	measurement
	// weights are the weights of the spells, and weight is their sum.
	weights []float64
	weight  float64
	// typical is the median pace of the run. pace is the estimate of how long an epoch takes: see settle.
	typical, pace float64
}

// newPace combines the measurements of the study itself and of others.
func newPace(study *Tally, others []*Tally) *pace {
	p := &pace{images: study.images, fixed: study.epochTime, workers: map[string]float64{}, families: map[family]bool{}}
	p.weigh(study.measured, 1)
	for _, other := range others {
		p.weigh(other.measured, otherStudy)
	}
	for i := range p.measured {
		p.families[p.measured[i].family()] = true
	}
	p.settle()
	p.deviation = p.spread()
	p.compareWorkers(len(study.measured))
	return p
}

// weigh adds the measurements of one study, latest first.
func (p *pace) weigh(measured []measurement, share float64) {
	measured = slices.Clone(measured)
	slices.SortStableFunc(measured, func(a, b measurement) int { return cmp.Compare(b.changed, a.changed) })
	total := 0.0
	for _, m := range measured {
		total += m.epochs
	}
	half := max(recent, recentShare*total)
	since := 0.0
	for _, m := range measured {
		w := weighted{measurement: m, weights: make([]float64, len(m.spells))}
		before := since
		for i := len(m.spells) - 1; i >= 0; i-- {
			w.weights[i] = share * m.spells[i].epochs * math.Exp2(-before/half)
			w.weight += w.weights[i]
			before += m.spells[i].epochs
		}
		since += m.epochs
		p.measured = append(p.measured, w)
	}
}

// known says whether anything is known about how long an epoch takes.
func (p *pace) known() bool { return len(p.measured) > 0 || p.fixed > 0 }

// at returns how many seconds an epoch takes on an average worker.
func (p *pace) at(s settings) float64 {
	sum, weights := p.near(s, func(m *weighted) float64 { return m.pace })
	if p.fixed > 0 {
		sum += p.fixed
		weights++
	}
	if weights == 0 {
		return 0
	}
	return sum / weights
}

// scaledFrom returns by how many doublings of its work the shape of other settings is apart from the nearest one that
// was measured, of those that near sums up: 0 if a network of the same shape was, or none.
func (p *pace) scaledFrom(s settings) (doublings float64) {
	doublings = math.Inf(1)
	for i := range p.measured {
		if m := &p.measured[i]; p.counts(m, s) {
			doublings = min(doublings, s.apart(m.settings))
		}
	}
	if len(p.measured) == 0 || doublings < sameShape {
		return 0
	}
	return doublings
}

// counts says whether a measurement says anything about settings. Those of other families do only where there are none
// of this one.
func (p *pace) counts(m *weighted, s settings) bool {
	its := s.family()
	return m.family() == its || !p.families[its]
}

// near sums up paces of runs, weighted by how similar their settings are, for epochs of the study.
func (p *pace) near(s settings, of func(*weighted) float64) (sum, weights float64) {
	for i := range p.measured {
		m := &p.measured[i]
		if !p.counts(m, s) {
			continue
		}
		latent, batch := (m.latent-s.latent)/paceWidth, (m.batch-s.batch)/paceWidth
		shape := s.apart(m.settings) / paceWidth
		weight := m.weight * max(farAway, math.Exp(-(float64(latent*latent)+float64(batch*batch)+float64(shape*shape))/2))
		sum += float64(weight * of(m) * p.images / m.images * math.Exp2(s.doublings(m.settings)))
		weights += weight
	}
	return sum, weights
}

// spread estimates the uncertainty of the future pace from how far runs' paces differ. The mean of the measurements has
// an error that depends on their number, and the machines may be as busy as they were during any of the runs.
func (p *pace) spread() float64 {
	var squares, weights, weightSquares float64
	for _, m := range p.measured {
		apart := math.Log(m.pace * p.images / m.images / p.at(m.settings))
		squares += m.weight * apart * apart
		weights += m.weight
		weightSquares += m.weight * m.weight
	}
	if weights == 0 {
		return loadDeviation
	}
	// As many equal weights would be as uncertain.
	runs := weights * weights / weightSquares
	variance := (runs*squares/weights + loadRuns*loadDeviation*loadDeviation) / (runs + loadRuns)
	return math.Sqrt(float64(variance*(loadLast/runs+1)) + p.doubt)
}

// compareWorkers finds workers that are faster or slower than others. It uses the study's own measurements, which are
// the first own ones. Only runs that are being trained say on which worker.
func (p *pace) compareWorkers(own int) {
	var names []string
	took, expected, epochs := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, m := range p.measured[:own] {
		if m.worker == "" {
			continue
		}
		if _, seen := took[m.worker]; !seen {
			names = append(names, m.worker)
		}
		took[m.worker] += float64(m.epochs * m.pace)
		expected[m.worker] += float64(m.epochs * p.at(m.settings))
		epochs[m.worker] += m.epochs
	}
	if len(names) < 2 {
		return
	}
	for _, name := range names {
		trust := trustedEpochs * expected[name] / max(1, epochs[name])
		p.workers[name] = (took[name] + trust) / (expected[name] + trust)
	}
}

// on returns how much longer than on average an epoch takes on a worker.
func (p *pace) on(worker string) float64 {
	if factor, ok := p.workers[worker]; ok {
		return factor
	}
	return 1
}
