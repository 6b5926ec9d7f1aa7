package forecast

import (
	"math"
	"math/rand/v2"
)

// features is how many coefficients the model of improvement has.
const features = 7

// waitedFeature is the index of the feature that changes from epoch to epoch.
const waitedFeature = 6

// vector has one number per feature.
type vector [features]float64

// featuresOf returns what the probability of an improvement in an epoch depends on. Later epochs improve less often,
// and runs with higher learning rates get there sooner. The longer the loss has not improved, the further it has fallen
// in the meantime. Everything else is learned.
func featuresOf(at settings, bin, waited int) vector {
	return vector{1, binAge[bin], at.learningRate, at.latent, at.weightDecay, at.batch, waitedAge[waited]}
}

// The prior of the coefficients: a mean and a standard deviation. For any network and data, training slows down like a
// power of the epoch, and sooner at higher learning rates. The prior is wide enough that a few runs outweigh it.
var (
	priorMean      = vector{0, -2, -2.5, 0, 0, 0, 0}
	priorDeviation = vector{2, 0.7, 1.2, 0.3, 0.3, 0.5, 0.5}
)

// runDeviation is how far runs differ for reasons that the features don't cover, on the scale of log odds.
const runDeviation = 0.6

// improvement is a logistic regression with an effect of each run, fitted by Laplace's approximation:
//
//	log odds(epoch t of run i improves) = features(i, t) . coefficients + effect(i),   effect ~ N(0, runDeviation^2)
//
// So epochs of one run don't count as independent observations, and runs that have started keep their own tendency.
type improvement struct {
	mean vector
	// factor is the lower Cholesky factor of the coefficients' precision.
	factor [features]vector
	// effects are the effects of the trajectories that it was fitted to.
	effects []effect
}

// effect is the distribution of a run's own deviation: normal with the given precision, around mean - slope .
// (coefficients - their mean).
type effect struct {
	mean, precision float64
	slope           vector
}

// fitSteps bounds Newton's method. It ends when no coefficient moves by more than fitTolerance.
const (
	fitSteps     = 50
	fitTolerance = 1e-6
	// longestStep bounds how far a coefficient moves in one step, because Newton's steps overshoot far from the best
	// fit.
	longestStep = 1
)

// fit finds the coefficients and effects that are the most likely given the trajectories.
func fit(trajectories []trajectory) *improvement {
	m := &improvement{mean: priorMean, effects: make([]effect, len(trajectories))}
	for range fitSteps {
		gradient, precision, steps := m.derivatives(trajectories)
		m.factor = cholesky(precision)
		move := solve(m.factor, gradient)
		largest := 0.0
		for _, x := range move {
			largest = max(largest, math.Abs(x))
		}
		scale := 1.0
		if largest > longestStep {
			scale = longestStep / largest
		}
		for k := range move {
			m.mean[k] += scale * move[k]
		}
		for i := range m.effects {
			e := &m.effects[i]
			e.mean += clamp(scale*(steps[i]-dot(e.slope, move)), longestStep)
		}
		if largest < fitTolerance {
			break
		}
	}
	return m
}

func clamp(x, bound float64) float64 { return max(-bound, min(bound, x)) }

// derivatives returns the gradient and the negative second derivative of the log likelihood in the coefficients, with
// each run's effect eliminated, and by how much each effect would move if the coefficients stayed.
func (m *improvement) derivatives(
	trajectories []trajectory,
) (gradient vector, precision [features]vector, steps []float64) {
	for k := range features {
		weight := 1 / (priorDeviation[k] * priorDeviation[k])
		precision[k][k] = weight
		gradient[k] = weight * (priorMean[k] - m.mean[k])
	}
	steps = make([]float64, len(trajectories))
	for i, t := range trajectories {
		e := &m.effects[i]
		own, ownPrecision := -e.mean/(runDeviation*runDeviation), 1/(runDeviation*runDeviation)
		var cross vector
		for _, cell := range t.cells {
			x := featuresOf(t.settings, cell.bin, cell.waited)
			chance := logistic(dot(x, m.mean) + e.mean)
			surprise := float64(cell.improved) - float64(cell.epochs)*chance
			weight := float64(cell.epochs) * chance * (1 - chance)
			own += surprise
			ownPrecision += weight
			for k := range features {
				gradient[k] += surprise * x[k]
				cross[k] += weight * x[k]
				for l := range k + 1 {
					precision[k][l] += weight * x[k] * x[l]
				}
			}
		}
		e.precision = ownPrecision
		steps[i] = own / ownPrecision
		for k := range features {
			e.slope[k] = cross[k] / ownPrecision
			gradient[k] -= cross[k] * steps[i]
			for l := range k + 1 {
				precision[k][l] -= cross[k] * cross[l] / ownPrecision
			}
		}
	}
	return gradient, precision, steps
}

// sample draws coefficients, and an effect for each trajectory.
func (m *improvement) sample(random *rand.Rand) (coefficients vector, effects []float64) {
	var noise vector
	for k := range noise {
		noise[k] = random.NormFloat64()
	}
	apart := solveTransposed(m.factor, noise)
	for k := range coefficients {
		coefficients[k] = m.mean[k] + apart[k]
	}
	effects = make([]float64, len(m.effects))
	for i, e := range m.effects {
		effects[i] = e.mean - dot(e.slope, apart) + random.NormFloat64()/math.Sqrt(e.precision)
	}
	return coefficients, effects
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func dot(a, b vector) (sum float64) {
	for k := range a {
		sum += a[k] * b[k]
	}
	return sum
}

// cholesky returns the lower triangle L of a matrix L L', of which it reads the lower triangle.
func cholesky(matrix [features]vector) (lower [features]vector) {
	for k := range features {
		for l := range k + 1 {
			sum := matrix[k][l]
			for j := range l {
				sum -= lower[k][j] * lower[l][j]
			}
			if k == l {
				// The prior keeps it well above 0; rounding must not make it less.
				lower[k][k] = math.Sqrt(max(sum, 1e-12))
			} else {
				lower[k][l] = sum / lower[l][l]
			}
		}
	}
	return lower
}

// solve returns the x of L L' x = b.
func solve(lower [features]vector, b vector) vector {
	var y vector
	for k := range features {
		y[k] = b[k]
		for l := range k {
			y[k] -= lower[k][l] * y[l]
		}
		y[k] /= lower[k][k]
	}
	return solveTransposed(lower, y)
}

// solveTransposed returns the x of L' x = b.
func solveTransposed(lower [features]vector, b vector) (x vector) {
	for k := features - 1; k >= 0; k-- {
		x[k] = b[k]
		for l := k + 1; l < features; l++ {
			x[k] -= lower[l][k] * x[l]
		}
		x[k] /= lower[k][k]
	}
	return x
}
