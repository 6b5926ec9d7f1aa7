package forecast

import "math"

// divergence counts, by learning rate, which runs have diverged, and when.
type divergence struct {
	rates []rate
	any   bool
}

type rate struct {
	learningRate   float64
	ended          int
	diverged       int
	divergedEpochs int
}

const (
	// maxRates is how many learning rates are distinguished. Runs with others are not counted.
	maxRates = 128
	// rateWidth says how far apart learning rates still say something about each other, in decades: the standard
	// deviation of a normal curve.
	rateWidth = 0.25
	// doubtfulRuns is how many runs without divergence are assumed where there are no observations.
	doubtfulRuns = 0.5
)

func (d *divergence) add(learningRate float64, epochs int, diverged bool) {
	i := 0
	for i < len(d.rates) && d.rates[i].learningRate != learningRate {
		i++
	}
	if i == len(d.rates) {
		if i == maxRates {
			return
		}
		d.rates = append(d.rates, rate{learningRate: learningRate})
	}
	d.rates[i].ended++
	if diverged {
		d.any = true
		d.rates[i].diverged++
		d.rates[i].divergedEpochs += epochs
	}
}

// at returns the probability that a run diverges, and at which epoch. If runs at a learning rate have diverged, so do
// runs at higher ones. If they have not, neither do runs at lower ones.
func (d *divergence) at(learningRate float64) (chance float64, epoch int) {
	if !d.any {
		return 0, 0
	}
	var diverged, survived, epochs float64
	for _, r := range d.rates {
		apart := (r.learningRate - learningRate) / rateWidth
		near := math.Exp(-apart * apart / 2)
		towardsDiverged, towardsSurvived := near, near
		if apart <= 0 {
			towardsDiverged = 1
		}
		if apart >= 0 {
			towardsSurvived = 1
		}
		diverged += towardsDiverged * float64(r.diverged)
		epochs += towardsDiverged * float64(r.divergedEpochs)
		survived += towardsSurvived * float64(r.ended-r.diverged)
	}
	if diverged == 0 {
		return 0, 0
	}
	return diverged / (diverged + survived + doubtfulRuns), max(1, int(math.Round(epochs/diverged)))
}
