package latent

import (
	"context"
	"math"
)

// descent is gradient descent with momentum on the divergence. Its memory is allocated once.
type descent struct {
	*team
	dim        int
	affinities *affinities
	tree       *cellTree
	// embedding, and all else that has a value for each coordinate, has rows of dim by the points' numbers.
	embedding, velocity, gains []float64
	attraction, repulsion      []float64
	// sums has a sum for each block of points; z is the sum of q over all pairs, from the last repulsion.
	sums []float64
	z    float64
	// The jobs of an iteration, in variables because a closure would be allocated each time.
	attract, repel, diverge func(block int)
}

func newDescent(ctx context.Context, a *affinities, embedding []float64, dim int, theta float64) *descent {
	n := len(embedding) / dim
	d := &descent{
		team: newTeam(ctx), dim: dim, affinities: a, tree: newCellTree(n, dim, theta), embedding: embedding,
		velocity: make([]float64, n*dim), gains: make([]float64, n*dim),
		attraction: make([]float64, n*dim), repulsion: make([]float64, n*dim),
		sums: make([]float64, blockCount(n)),
	}
	for i := range d.gains {
		d.gains[i] = 1
	}
	attract, repel := a.attract2, d.tree.repel2
	if dim == 3 {
		attract, repel = a.attract3, d.tree.repel3
	}
	d.attract = func(block int) {
		// One goroutine builds the tree while the others attract: neither needs the other.
		if block == 0 {
			d.tree.build(d.embedding)
			return
		}
		first, last := blockRange(block-1, n)
		attract(d.embedding, d.attraction, first, last)
	}
	d.repel = func(block int) {
		first, last := blockRange(block, n)
		d.sums[block] = repel(d.repulsion, first, last)
	}
	d.diverge = func(block int) {
		first, last := blockRange(block, n)
		d.sums[block] = a.divergence(d.embedding, dim, first, last)
	}
	return d
}

// computeForces sets attraction, repulsion and z for the embedding as it is.
func (d *descent) computeForces() error {
	if err := d.do(1+len(d.sums), d.attract); err != nil {
		return err
	}
	if err := d.do(len(d.sums), d.repel); err != nil {
		return err
	}
	d.z = sum(d.sums)
	return nil
}

// Gains adapt the learning rate of each coordinate (Jacobs, 1988): they grow while it goes one way.
const (
	gainIncrease = 0.2
	gainDecay    = 0.8
	minGain      = 0.01
)

// step moves the points by the forces, keeps their mean at 0, and returns the gradient's Euclidean norm. ErrDiverged if
// they aren't finite any more.
func (d *descent) step(exaggeration, momentum, learningRate float64) (norm float64, err error) {
	var squares float64
	var means [3]float64
	axis := 0
	for i, attraction := range d.attraction {
		gradient := 4 * (float64(exaggeration*attraction) - d.repulsion[i]/d.z)
		squares += float64(gradient * gradient)
		velocity := d.velocity[i]
		gain := d.gains[i]
		if velocity*gradient < 0 {
			gain += gainIncrease
		} else {
			gain = max(float64(gain*gainDecay), minGain)
		}
		velocity = float64(momentum*velocity) - float64(float64(learningRate*gain)*gradient)
		d.gains[i], d.velocity[i] = gain, velocity
		d.embedding[i] += velocity
		means[axis] += d.embedding[i]
		if axis++; axis == d.dim {
			axis = 0
		}
	}
	var total float64
	for axis := range d.dim {
		means[axis] = float64(means[axis] * (float64(d.dim) / float64(len(d.embedding))))
		total += means[axis]
	}
	// A coordinate that is not finite makes its mean so, and beyond maxMagnitude squares overflow.
	if !(math.Abs(total) < maxMagnitude && squares < maxMagnitude) {
		return 0, ErrDiverged
	}
	for i := 0; i < len(d.embedding); i += d.dim {
		for axis := range d.dim {
			d.embedding[i+axis] -= means[axis]
		}
	}
	return math.Sqrt(squares), nil
}

// divergence returns the Kullback-Leibler divergence of the embedding as it is.
func (d *descent) divergence() (float64, error) {
	if err := d.computeForces(); err != nil {
		return 0, err
	}
	z := d.z
	if err := d.do(len(d.sums), d.diverge); err != nil {
		return 0, err
	}
	return sum(d.sums) + log(z), nil
}

// divergence returns the sum over points from first to last-1 of p_ij (log p_ij - log q_ij). With the logarithm of the
// sum of all q_ij added, because the p_ij sum to 1, it is the divergence.
func (a *affinities) divergence(embedding []float64, dim, first, last int) float64 {
	var total float64
	for i := first; i < last; i++ {
		y := embedding[i*dim : (i+1)*dim]
		var sum float64
		for _, entry := range a.row(i) {
			// Probabilities below the normal range contribute nothing that could be seen.
			p := float64(entry.probability)
			if p < minProbability {
				continue
			}
			other := embedding[int(entry.point)*dim:]
			distance2 := 0.0
			for d, v := range y {
				v -= other[d]
				distance2 += float64(v * v)
			}
			sum += float64(p * log(float64(p*(1+distance2))))
		}
		total += sum
	}
	return total
}

const minProbability = 1e-37
