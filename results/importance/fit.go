package importance

import "math"

const (
	// maxIterations bounds the iterations of a step's fit. With all pairs of axes and a million points, one iteration
	// takes a tenth of a second.
	maxIterations = 50
	// tolerance ends the fit: it is the largest squared gradient, relative to the sum of the squares of all deviations.
	tolerance = 1e-18
)

// explain fits a term for each partition to the residual, all together by least squares, and subtracts them from it. It
// returns by how much each term has reduced the sum of squares: the total reduction, divided in proportion to the
// squares of the terms. The fit ends when the squared gradient is at most enough.
//
// This is the method of conjugate gradients for least squares (Hestenes and Stiefel 1952). It starts with terms of 0.
// Of several equally good fits, it ends with the one with the smallest sum of squared terms (Hayami 2018, Convergence
// of the Conjugate Gradient Method on Singular Systems). So no partition has precedence, and equal partitions get equal
// terms.
func explain(
	partitions []partition, residual []float64, enough float64, interrupted func() error,
) ([]float64, error) {
	before := squares(residual)
	terms := make([][]float64, len(partitions))
	gradient, gradientSquares := gradients(partitions, residual)
	direction := make([][]float64, len(partitions))
	for p := range partitions {
		terms[p] = make([]float64, partitions[p].groups)
		direction[p] = append([]float64(nil), gradient[p]...)
	}
	change := make([]float64, len(residual))
	for iteration := 0; iteration < maxIterations && gradientSquares > enough; iteration++ {
		if err := interrupted(); err != nil {
			return nil, err
		}
		clear(change)
		for p := range partitions {
			partitions[p].spread(direction[p], change)
		}
		step := gradientSquares / squares(change)
		for k := range residual {
			residual[k] -= step * change[k]
		}
		last := gradientSquares
		gradient, gradientSquares = gradients(partitions, residual)
		for p := range partitions {
			for group := range terms[p] {
				terms[p][group] += step * direction[p][group]
				direction[p][group] = gradient[p][group] + gradientSquares/last*direction[p][group]
			}
		}
	}
	gained, sum := max(0, before-squares(residual)), 0.0
	shares := make([]float64, len(partitions))
	for p := range partitions {
		shares[p] = squares(terms[p])
		sum += shares[p]
	}
	for p := range shares {
		if sum > 0 {
			shares[p] *= gained / sum
		}
	}
	return shares, nil
}

// gradients returns each partition's coordinates of the residual, and the sum of their squares.
func gradients(partitions []partition, residual []float64) (coordinates [][]float64, sum float64) {
	coordinates = make([][]float64, len(partitions))
	for p := range partitions {
		coordinates[p] = partitions[p].collect(residual)
		sum += squares(coordinates[p])
	}
	return coordinates, sum
}

// A partition's terms are functions with one value per group. Their coordinates are these values times the square root
// of the group's number of points. So the sum of the squared coordinates equals the sum of the function's squares over
// the points, and collect is the transpose of spread.

// collect returns the coordinates of the groups' means of the values.
func (p *partition) collect(values []float64) []float64 {
	coordinates := make([]float64, p.groups)
	for k, group := range p.of {
		coordinates[group] += values[k]
	}
	for group, count := range p.counts {
		if count > 0 {
			coordinates[group] /= math.Sqrt(float64(count))
		}
	}
	return coordinates
}

// spread adds the function with the coordinates to the values.
func (p *partition) spread(coordinates, values []float64) {
	function := make([]float64, p.groups)
	for group, count := range p.counts {
		if count > 0 {
			function[group] = coordinates[group] / math.Sqrt(float64(count))
		}
	}
	for k, group := range p.of {
		values[k] += function[group]
	}
}
