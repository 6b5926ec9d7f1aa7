package forecast

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// settings are the parameters by which runs are similar or different, on scales with comparable distances: doublings of
// latent dimension, batch size, filters, kernel and hidden, decades of learning rate and weight decay, and
// convolutions.
type settings struct {
	latent, learningRate, weightDecay, batch float64
	// filters, kernel, depth and hidden are the network's shape. They are above 0, and 0 if the point does not say:
	// older versions had one shape for each model, and programs have their own.
	filters, kernel, depth, hidden float64
	// fineTune is whether a classifier's encoder is trained (2) or not (1), and shift whether its images are moved (1)
	// or not. They are 0 if the point does not say. See family.
	fineTune, shift float64
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
const settingCount = 10

// settingNames are the parameters that settings depend on, in the order of settings.list.
var settingNames = [settingCount]string{
	"latent_dim", "learning_rate", "weight_decay", "batch_size", "filters", "kernel", "depth", "hidden", "fine_tune",
	"shift",
}

func (s settings) list() [settingCount]float64 {
	return [settingCount]float64{
		s.latent, s.learningRate, s.weightDecay, s.batch, s.filters, s.kernel, s.depth, s.hidden, s.fineTune, s.shift,
	}
}

// down rounds each setting down to a multiple of a step, of which it returns the number. What the family follows from
// stays: its numbers are names, and families are never similar.
func (s settings) down(step float64) settings {
	down := func(x float64) float64 { return math.Floor(x / step) }
	return settings{
		down(s.latent), down(s.learningRate), down(s.weightDecay), down(s.batch), down(s.filters), down(s.kernel),
		down(s.depth), down(s.hidden), s.fineTune, s.shift,
	}
}

// family is how an epoch treats a classifier's encoder. Epochs of one say little about those of another.
type family int

const (
	// encoderless: it has none, or nobody says what is done to it.
	encoderless family = iota
	// encodedOnce: images are encoded once for all epochs; encodedAnew: they are moved, and encoded in each.
	encodedOnce
	encodedAnew
	// fineTuned: the encoder is trained too.
	fineTuned
)

// encoding is how often the work of an epoch doubles from that of a family without an encoder's part in it, as far as
// it follows from the operations of the paper's encoder.
var encoding = map[family]float64{encodedOnce: 0, encodedAnew: 5.5, fineTuned: 7}

func (s settings) family() family {
	switch {
	case s.fineTune == 0:
		return encoderless
	case s.fineTune > 1:
		return fineTuned
	case s.shift > 0:
		return encodedAnew
	}
	return encodedOnce
}

// encodings is how often the work doubles from the family of other settings to this one: 0 where one does not say.
func (s settings) encodings(from settings) float64 {
	if s.fineTune == 0 || from.fineTune == 0 {
		return 0
	}
	return encoding[s.family()] - encoding[from.family()]
}

// doublings is how often the work of an epoch doubles from other settings to these, as far as it follows from the
// network's shape: each convolution but the first has about as many operations as the others, which grow with the
// squares of filters and kernel. The hidden layer is a smaller part: four times as many units are about 1.4 times the
// work.
func (s settings) doublings(from settings) (doublings float64) {
	filters, kernel, depth, hidden := s.reshaped(from)
	return 2*filters + 2*kernel + depth + hidden/4 + s.encodings(from)
}

// apart is how many doublings of work other networks' shapes are away from this one, whether they are of more or of
// less work: what one axis adds and another takes off has not been measured either. It is 0 only for equal shapes. Of
// the hidden layer a doubling counts whole, since nobody knows how large a part it is. The latent dimension is no part
// of the shape: from 2 to 512 it adds a fifth to the operations of a small network, and less to those of others.
func (s settings) apart(from settings) float64 {
	filters, kernel, depth, hidden := s.reshaped(from)
	if s.depth > 0 && from.depth > 0 {
		// Between one convolution and two, the work of the first is all that there is.
		depth = max(math.Abs(depth), math.Abs(math.Log2(s.depth/from.depth)))
	}
	return 2*math.Abs(filters) + 2*math.Abs(kernel) + depth + math.Abs(hidden) + math.Abs(s.encodings(from))
}

// reshaped is how often the network's filters, kernel, convolutions but the first, and hidden units double from other
// settings to these: 0 where one of them does not say.
func (s settings) reshaped(from settings) (filters, kernel, depth, hidden float64) {
	if s.filters > 0 && from.filters > 0 {
		filters = s.filters - from.filters
	}
	if s.kernel > 0 && from.kernel > 0 {
		kernel = s.kernel - from.kernel
	}
	if s.depth > 0 && from.depth > 0 {
		depth = math.Log2(max(1, s.depth-1) / max(1, from.depth-1))
	}
	if s.hidden > 0 && from.hidden > 0 {
		hidden = s.hidden - from.hidden
	}
	return filters, kernel, depth, hidden
}

// settingsOf returns the settings of a point. A program's own fine_tune and shift say nothing about an encoder.
func settingsOf(p *trellisv1.Parameters, program bool) settings {
	s := settings{
		latent:       math.Log2(atLeast(1, p, "latent_dim") / middleLatent),
		learningRate: math.Log10(atLeast(math.SmallestNonzeroFloat64, p, "learning_rate") / middleLearningRate),
		weightDecay:  math.Log10(1 + atLeast(0, p, "weight_decay")/noWeightDecay),
		batch:        math.Log2(atLeast(1, p, "batch_size") / middleBatch),
		filters:      math.Log2(2 * atLeast(0.5, p, "filters")),
		kernel:       math.Log2(2 * atLeast(0.5, p, "kernel")),
		depth:        atLeast(0, p, "depth"),
		hidden:       math.Log2(2 * atLeast(0.5, p, "hidden")),
	}
	if program {
		return s
	}
	s.shift = min(1, atLeast(0, p, "shift"))
	if fineTune, says := p.GetValues()["fine_tune"].Numeric(); says {
		s.fineTune = 1
		if fineTune > 0 {
			s.fineTune = 2
		}
	}
	return s
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
