package forecast

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// settings are the parameters that make runs alike or different, on scales on which distances are comparable: doublings
// of latent dimension and batch size, decades of learning rate and weight decay.
type settings struct {
	latent, learningRate, weightDecay, batch float64
}

// Where the scales have their zero: middling values of each parameter. Weight decays from none to noWeightDecay are as
// good as equal.
const (
	middleLatent       = 16
	middleLearningRate = 1e-3
	middleBatch        = 256
	noWeightDecay      = 1e-6
)

func settingsOf(p *trellisv1.Parameters) settings {
	return settings{
		latent:       math.Log2(float64(max(p.GetLatentDim(), 1)) / middleLatent),
		learningRate: math.Log10(max(p.GetLearningRate(), math.SmallestNonzeroFloat64) / middleLearningRate),
		weightDecay:  math.Log10(1 + p.GetWeightDecay()/noWeightDecay),
		batch:        math.Log2(float64(max(p.GetBatchSize(), 1)) / middleBatch),
	}
}

// The bins of epochs, by which improvements are counted: one each for the first fineEpochs, then each 1/16 longer than
// the one before.
const (
	fineEpochs = 16
	// lastEpoch is the last that a study can ask for.
	lastEpoch = 10_000
	// middleEpoch is where the scale of epochs has its zero.
	middleEpoch = 100
)

// bins has the first epoch of each bin, and one past lastEpoch at the end.
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

// waitedAge is what it counts that a run has not improved for some epochs.
var waitedAge = newWaitedAge()

func newWaitedAge() []float64 {
	age := make([]float64, lastEpoch+1)
	for waited := range age {
		age[waited] = math.Log1p(float64(waited))
	}
	return age
}
