package forecast

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// settings are the parameters by which runs are similar or different, on scales with comparable distances: doublings of
// latent dimension and batch size, decades of learning rate and weight decay.
type settings struct {
	latent, learningRate, weightDecay, batch float64
}

// The zero points of the scales: typical values of each parameter. Weight decays from 0 to noWeightDecay count as
// equal.
const (
	middleLatent       = 16
	middleLearningRate = 1e-3
	middleBatch        = 256
	noWeightDecay      = 1e-6
)

// settingNames are the parameters that settings depend on, in the order of settings.list.
var settingNames = [4]string{"latent_dim", "learning_rate", "weight_decay", "batch_size"}

func (s settings) list() [4]float64 {
	return [4]float64{s.latent, s.learningRate, s.weightDecay, s.batch}
}

func settingsOf(p *trellisv1.Parameters) settings {
	return settings{
		latent:       math.Log2(atLeast(1, p, "latent_dim") / middleLatent),
		learningRate: math.Log10(atLeast(math.SmallestNonzeroFloat64, p, "learning_rate") / middleLearningRate),
		weightDecay:  math.Log10(1 + atLeast(0, p, "weight_decay")/noWeightDecay),
		batch:        math.Log2(atLeast(1, p, "batch_size") / middleBatch),
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
