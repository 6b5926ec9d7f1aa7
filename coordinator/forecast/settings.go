package forecast

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// settings are the parameters by which runs are similar or different, on scales with comparable distances: doublings of
// latent dimension, batch size, filters and kernel, decades of learning rate and weight decay, and convolutions.
type settings struct {
	latent, learningRate, weightDecay, batch float64
	// filters, kernel and depth are the network's shape. They are above 0, and 0 if the point does not say: older
	// versions had one shape for each model, and programs have their own.
	filters, kernel, depth float64
}

// The zero points of the scales: typical values of each parameter. Weight decays from 0 to noWeightDecay count as
// equal.
const (
	middleLatent       = 16
	middleLearningRate = 1e-3
	middleBatch        = 256
	noWeightDecay      = 1e-6
)

// settingCount is how many parameters settings depend on.
const settingCount = 7

// settingNames are the parameters that settings depend on, in the order of settings.list.
var settingNames = [settingCount]string{
	"latent_dim", "learning_rate", "weight_decay", "batch_size", "filters", "kernel", "depth",
}

func (s settings) list() [settingCount]float64 {
	return [settingCount]float64{s.latent, s.learningRate, s.weightDecay, s.batch, s.filters, s.kernel, s.depth}
}

// down rounds each setting down to a multiple of a step, of which it returns the number.
func (s settings) down(step float64) settings {
	down := func(x float64) float64 { return math.Floor(x / step) }
	return settings{
		down(s.latent), down(s.learningRate), down(s.weightDecay), down(s.batch), down(s.filters), down(s.kernel),
		down(s.depth),
	}
}

// doublings is how often the work of an epoch doubles from other settings to these, as far as it follows from the
// network's shape: each convolution but the first has about as many operations as the others, which grow with the
// squares of filters and kernel.
func (s settings) doublings(from settings) (doublings float64) {
	if s.filters > 0 && from.filters > 0 {
		doublings += 2 * (s.filters - from.filters)
	}
	if s.kernel > 0 && from.kernel > 0 {
		doublings += 2 * (s.kernel - from.kernel)
	}
	if s.depth > 0 && from.depth > 0 {
		doublings += math.Log2(max(1, s.depth-1) / max(1, from.depth-1))
	}
	return doublings
}

func settingsOf(p *trellisv1.Parameters) settings {
	return settings{
		latent:       math.Log2(atLeast(1, p, "latent_dim") / middleLatent),
		learningRate: math.Log10(atLeast(math.SmallestNonzeroFloat64, p, "learning_rate") / middleLearningRate),
		weightDecay:  math.Log10(1 + atLeast(0, p, "weight_decay")/noWeightDecay),
		batch:        math.Log2(atLeast(1, p, "batch_size") / middleBatch),
		filters:      math.Log2(2 * atLeast(0.5, p, "filters")),
		kernel:       math.Log2(atLeast(1, p, "kernel")),
		depth:        atLeast(0, p, "depth"),
	}
}

// atLeast returns a parameter's value, or the least that there can be if the point has no such number.
func atLeast(least float64, p *trellisv1.Parameters, name string) float64 {
	if value, ok := p.GetValues()[name].Numeric(); ok {
		return max(value, least)
	}
	return least
}

// The bins of epochs in which improvements are counted: one for each of the first fineEpochs epochs, then each bin is
// 1/16 longer than the one before.
const (
	fineEpochs = 16
	// lastEpoch is the last epoch that a study can ask for.
	lastEpoch = 10_000
	// middleEpoch is where the scale of epochs has its zero.
	middleEpoch = 100
)

// bins has the first epoch of each bin, and lastEpoch + 1 at the end.
var bins = newBins()

// binOf has the bin of each epoch, from 1 to lastEpoch.
var binOf = newBinOf()

func newBins() []int {
	var firsts []int
	for first := 1; first <= lastEpoch; {
		firsts = append(firsts, first)
		if first <= fineEpochs {
			first++
		} else {
			first += max(1, first/fineEpochs)
		}
	}
	return append(firsts, lastEpoch+1)
}

func newBinOf() []uint8 {
	of := make([]uint8, lastEpoch+1)
	for bin := range len(bins) - 1 {
		for epoch := bins[bin]; epoch < bins[bin+1]; epoch++ {
			of[epoch] = uint8(bin)
		}
	}
	return of
}

// binAge is how far the middle of each bin is from middleEpoch, in logarithms.
var binAge = newBinAge()

func newBinAge() []float64 {
	age := make([]float64, len(bins)-1)
	for bin := range age {
		age[bin] = math.Log(float64(bins[bin]+bins[bin+1]-1) / 2 / middleEpoch)
	}
	return age
}

// waitedAge is the feature for the number of epochs without an improvement.
var waitedAge = newWaitedAge()

func newWaitedAge() []float64 {
	age := make([]float64, lastEpoch+1)
	for waited := range age {
		age[waited] = math.Log1p(float64(waited))
	}
	return age
}
