package latent

import (
	"cmp"
	"context"
	"fmt"
	"math"
)

// What the zero values of TSNE's fields stand for: the choices of van der Maaten (2014), and scikit-learn's of the
// learning rate (Belkina et al., 2019).
const (
	DefaultDimensions             = 2
	DefaultPerplexity             = 30
	DefaultTheta                  = 0.5
	DefaultEarlyExaggeration      = 12
	DefaultExaggerationIterations = 250
	DefaultIterations             = 1000
	DefaultMinGradientNorm        = 1e-7
	// MinDefaultLearningRate is the least that the default learning rate is.
	MinDefaultLearningRate = 50
)

// ExactTheta makes TSNE compute every pair's force: in time quadratic in the number of points.
const ExactTheta = -1

// Start is where t-SNE's points begin.
type Start int

const (
	// StartPCA begins with the first principal components, scaled to a standard deviation of 1e-4 along the first.
	StartPCA Start = iota
	// StartRandom begins with random points of that standard deviation, drawn by the seed.
	StartRandom
)

// TSNE is t-distributed stochastic neighbour embedding (van der Maaten and Hinton, 2008), by the Barnes-Hut
// approximation (van der Maaten, "Accelerating t-SNE using Tree-Based Algorithms", 2014): an iteration takes time
// proportional to n log n. The zero value of each field but Start, Seed and Progress stands for a default.
type TSNE struct {
	// Dimensions of the embedding: 2 or 3. DefaultDimensions is 2.
	Dimensions int
	// Perplexity is about how many neighbours a point feels, 1 or more. Points must be more than three times as many.
	Perplexity float64
	// Theta trades accuracy for speed, from above 0 to 1: a cell of the tree stands for its points where the diagonal
	// of the box around them is less than Theta times their distance. ExactTheta for every pair.
	Theta float64
	// LearningRate is what the gradient is multiplied by. By default a fourth of the number of points by
	// EarlyExaggeration, but at least MinDefaultLearningRate.
	LearningRate float64
	// EarlyExaggeration multiplies attractions for the first ExaggerationIterations, with momentum 0.5; it is 0.8
	// later.
	EarlyExaggeration      float64
	ExaggerationIterations int
	// Iterations are all, those with exaggeration included.
	Iterations int
	Start      Start
	// Seed determines the random numbers of the start.
	Seed uint32
	// MinGradientNorm ends the iterations after those with exaggeration, where the gradient's Euclidean norm is less.
	MinGradientNorm float64
	// Progress, if there is one, is called by Embed's goroutine after every 50 iterations and the last: with their
	// number so far, the most that there will be, and the Kullback-Leibler divergence in nats.
	Progress func(iteration, total int, divergence float64)
}

// reviewIterations is after how many iterations the gradient's norm is looked at, and progress told.
const reviewIterations = 50

// withDefaults returns t with defaults for zero values, and an error if it does not fit n points of any kind.
func (t TSNE) withDefaults(n int) (TSNE, error) {
	t.Dimensions = cmp.Or(t.Dimensions, DefaultDimensions)
	t.Perplexity = cmp.Or(t.Perplexity, DefaultPerplexity)
	t.Theta = cmp.Or(t.Theta, DefaultTheta)
	t.EarlyExaggeration = cmp.Or(t.EarlyExaggeration, DefaultEarlyExaggeration)
	t.ExaggerationIterations = cmp.Or(t.ExaggerationIterations, DefaultExaggerationIterations)
	t.Iterations = cmp.Or(t.Iterations, DefaultIterations)
	t.MinGradientNorm = cmp.Or(t.MinGradientNorm, DefaultMinGradientNorm)
	t.LearningRate = cmp.Or(t.LearningRate, max(float64(n)/t.EarlyExaggeration/4, MinDefaultLearningRate))
	refuse := func(field string, value any, want string) (TSNE, error) {
		return t, fmt.Errorf("%w: t-SNE's %s is %v, want %s", ErrInvalidOption, field, value, want)
	}
	finite := func(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
	switch {
	case t.Dimensions != 2 && t.Dimensions != 3:
		return refuse("dimensions", t.Dimensions, "2 or 3")
	case !finite(t.Perplexity) || t.Perplexity < 1:
		return refuse("perplexity", t.Perplexity, "1 or more")
	case t.Theta != ExactTheta && !(t.Theta > 0 && t.Theta <= 1):
		return refuse("theta", t.Theta, "more than 0, up to 1, or ExactTheta")
	case !finite(t.LearningRate) || t.LearningRate <= 0:
		return refuse("learning rate", t.LearningRate, "more than 0")
	case !finite(t.EarlyExaggeration) || t.EarlyExaggeration < 1:
		return refuse("early exaggeration", t.EarlyExaggeration, "1 or more")
	case t.ExaggerationIterations < 0:
		return refuse("number of iterations with exaggeration", t.ExaggerationIterations, "0 or more")
	case t.Iterations < 0:
		return refuse("number of iterations", t.Iterations, "0 or more")
	case t.Start != StartPCA && t.Start != StartRandom:
		return refuse("start", int(t.Start), "StartPCA or StartRandom")
	case !finite(t.MinGradientNorm) || t.MinGradientNorm < 0:
		return refuse("least gradient norm", t.MinGradientNorm, "0 or more")
	case float64(n) <= 3*t.Perplexity:
		if n < 4 {
			return t, fmt.Errorf("%w: t-SNE of %d points, want 4 or more", ErrInvalidPoints, n)
		}
		return t, fmt.Errorf("%w: perplexity %v for %d points, want more than %v points or a perplexity below %.4g",
			ErrInvalidOption, t.Perplexity, n, 3*t.Perplexity, float64(n)/3)
	}
	return t, nil
}

// Embed maps points to as many with 2 or 3 dimensions, whose mean is 0, and returns the Kullback-Leibler divergence of
// their similarities from those of the originals, in nats, as the tree approximates it.
//
// It returns an error wrapping ErrInvalidPoints or ErrInvalidOption before it begins, ErrDiverged if the learning rate
// was far too large, and ctx's error within milliseconds of ctx's end. Points that coincide are no error; if all do,
// they start at random.
func (t TSNE) Embed(ctx context.Context, points Points) (embedding Points, divergence float64, err error) {
	if err := points.check(0); err != nil {
		return Points{}, 0, err
	}
	if t, err = t.withDefaults(points.Len()); err != nil {
		return Points{}, 0, err
	}
	points, _ = centred(points)
	affinities, err := newAffinities(ctx, points, t.Perplexity)
	if err != nil {
		return Points{}, 0, err
	}
	start := randomStart(points.Len(), t.Dimensions, t.Seed)
	if t.Start == StartPCA {
		if err := principalStart(ctx, points, t.Dimensions, start); err != nil {
			return Points{}, 0, err
		}
	}
	d := newDescent(ctx, affinities, start, t.Dimensions, t.Theta)
	defer d.stop()
	if divergence, err = d.run(&t); err != nil {
		return Points{}, 0, err
	}
	return Points{Values: d.embedding, Dim: t.Dimensions}, divergence, nil
}

// run descends to the end, and returns the divergence there.
func (d *descent) run(t *TSNE) (divergence float64, err error) {
	total := t.Iterations
	divergence = math.NaN()
	for iteration := 1; iteration <= total; iteration++ {
		exaggeration, momentum := 1.0, 0.8
		if iteration <= t.ExaggerationIterations {
			exaggeration, momentum = t.EarlyExaggeration, 0.5
		}
		if err := d.computeForces(); err != nil {
			return 0, err
		}
		norm, err := d.step(exaggeration, momentum, t.LearningRate)
		if err != nil {
			return 0, fmt.Errorf("iteration %d at learning rate %g: %w", iteration, t.LearningRate, err)
		}
		if iteration%reviewIterations != 0 && iteration != total {
			continue
		}
		if iteration > t.ExaggerationIterations && norm < t.MinGradientNorm {
			total = iteration
		}
		if t.Progress == nil && iteration != total {
			continue
		}
		if divergence, err = d.divergence(); err != nil {
			return 0, err
		}
		if t.Progress != nil {
			t.Progress(iteration, t.Iterations, divergence)
		}
	}
	return divergence, nil
}

// centred returns the points about their mean, divided by 2 to the power of exponent, which brings the largest
// coordinate into [0.5, 1). t-SNE is indifferent to both, and squares of very small coordinates would vanish.
func centred(points Points) (c Points, exponent int) {
	n := points.Len()
	c = Points{Values: make([]float64, len(points.Values)), Dim: points.Dim}
	mean := make([]float64, points.Dim)
	for i := range n {
		for d, v := range points.Row(i) {
			mean[d] += v / float64(n)
		}
	}
	var most float64
	for i := range n {
		row := c.Row(i)
		for d, v := range points.Row(i) {
			row[d] = v - mean[d]
			most = max(most, math.Abs(row[d]))
		}
	}
	_, exponent = math.Frexp(most)
	for i, v := range c.Values {
		c.Values[i] = math.Ldexp(v, -exponent)
	}
	return c, exponent
}
