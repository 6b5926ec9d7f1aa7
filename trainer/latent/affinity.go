package latent

import (
	"context"
	"fmt"
	"math"
)

// affinities are t-SNE's joint probabilities p_ij of pairs of points: a sparse symmetric matrix with a sum of 1.
type affinities struct {
	// Row i has the entries start[i] to start[i+1]-1, each column once.
	start   []int
	entries []affinity
}

type affinity struct {
	point       int32
	probability float32
}

func (a *affinities) row(i int) []affinity { return a.entries[a.start[i]:a.start[i+1]] }

// newAffinities computes the probabilities from the floor(3 perplexity) nearest neighbours of each point, as van der
// Maaten, "Accelerating t-SNE using Tree-Based Algorithms", 2014, section 4.1.
func newAffinities(ctx context.Context, points Points, perplexity float64) (*affinities, error) {
	n, k := points.Len(), int(3*perplexity)
	neighbours, err := nearestNeighbours(ctx, points, k)
	if err != nil {
		return nil, fmt.Errorf("find nearest neighbours: %w", err)
	}
	conditional := make([]float32, n*k)
	t := newTeam(ctx)
	defer t.stop()
	err = t.do(blockCount(n), func(block int) {
		weights := make([]float64, k)
		for i := range intRange(blockRange(block, n)) {
			conditionalProbabilities(neighbours[i*k:(i+1)*k], perplexity, weights)
			for j, weight := range weights {
				conditional[i*k+j] = float32(weight)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return symmetrise(neighbours, conditional, n, k), nil
}

// Perplexities are met to this relative error: it is the difference of the logarithms.
const perplexityTolerance = 1e-5

// conditionalProbabilities sets probabilities to those of a point's neighbours under a Gaussian around it, whose width
// is such that 2 to the power of their entropy is the perplexity. Neighbours are nearest first. Where more neighbours
// than the perplexity are equally near, as duplicates are, they share the probability.
func conditionalProbabilities(neighbours []neighbour, perplexity float64, probabilities []float64) {
	nearest := neighbours[0].distance
	var mean float64
	for _, other := range neighbours {
		mean += other.distance - nearest
	}
	mean /= float64(len(neighbours))
	// beta is 1 / (2 sigma^2). The entropy falls with it.
	beta, low, high := 1.0, 0.0, math.Inf(1)
	if mean > 0 {
		beta = 1 / mean
	}
	target := log(perplexity)
	var total float64
	// 200 halvings or doublings go from any start to wherever there is an answer.
	for range 200 {
		total = 0
		var moment float64
		for j, other := range neighbours {
			distance := other.distance - nearest
			weight := exp(-float64(beta * distance))
			probabilities[j] = weight
			total += weight
			moment += float64(weight * distance)
		}
		excess := log(total) + float64(beta*moment)/total - target
		if mean == 0 || math.Abs(excess) < perplexityTolerance {
			break
		}
		switch {
		case excess < 0:
			high = beta
			beta = (beta + low) / 2
		case math.IsInf(high, 1):
			low = beta
			beta *= 2
		default:
			low = beta
			beta = (beta + high) / 2
		}
	}
	for j := range probabilities {
		probabilities[j] /= total
	}
}

// symmetrise returns p_ij = (p_j|i + p_i|j) / 2n from the conditional probabilities of each point's k neighbours.
func symmetrise(neighbours []neighbour, conditional []float32, n, k int) *affinities {
	// The transpose's rows come in the order of their columns, because the points are taken in order.
	start := make([]int, n+1)
	for _, other := range neighbours {
		start[other.point+1]++
	}
	for i := range n {
		start[i+1] += start[i]
	}
	transpose := make([]affinity, n*k)
	fill := make([]int, n)
	for i := range n {
		for j, other := range neighbours[i*k : (i+1)*k] {
			transpose[start[other.point]+fill[other.point]] = affinity{int32(i), conditional[i*k+j]}
			fill[other.point]++
		}
	}
	a := &affinities{start: make([]int, n+1), entries: make([]affinity, 0, 2*n*k)}
	scale := 1 / float32(2*n)
	// mine has the conditional probabilities of row i by column while that row is made, -1 once they are in it. It is 0
	// otherwise.
	mine := make([]float32, n)
	for i := range n {
		row := neighbours[i*k : (i+1)*k]
		for j, other := range row {
			mine[other.point] = conditional[i*k+j]
		}
		first := len(a.entries)
		for _, other := range transpose[start[i]:start[i+1]] {
			both := other.probability + mine[other.point]
			a.entries = append(a.entries, affinity{other.point, both * scale})
			mine[other.point] = -1
		}
		for j, other := range row {
			if mine[other.point] >= 0 {
				a.entries = append(a.entries, affinity{other.point, conditional[i*k+j] * scale})
			}
		}
		for _, entry := range a.entries[first:] {
			mine[entry.point] = 0
		}
		a.start[i+1] = len(a.entries)
	}
	return a
}
