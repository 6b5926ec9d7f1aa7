package latent

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// PCA projects points, two or more, on their principal components: the axes about their mean along which they vary
// most. components is from 1 to the smaller of the number of points and their dimension.
//
// The projection has a row of components values for each point, in the points' unit. explained has the share of the
// variance of every component there is, descending: they sum to 1, or are all 0 where the points are equal. An axis
// points where its largest coordinate, the first of them if several are equal, is positive.
//
// It returns an error wrapping ErrInvalidPoints or ErrInvalidOption, or ctx's error. The decomposition in between is
// gonum's and can't be interrupted: it takes about as long as n dim^2 multiplications, some ten times over.
func PCA(ctx context.Context, points Points, components int) (projection Points, explained []float64, err error) {
	if err := points.check(2); err != nil {
		return Points{}, nil, err
	}
	n, dim := points.Len(), points.Dim
	if most := min(n, dim); components < 1 || components > most {
		return Points{}, nil, fmt.Errorf("%w: %d principal components of %d points in %d dimensions, want 1 to %d",
			ErrInvalidOption, components, n, dim, most)
	}
	if err := ctx.Err(); err != nil {
		return Points{}, nil, err
	}
	// Scaled, so that squares neither overflow nor vanish.
	points, exponent := centred(points)
	matrix := mat.NewDense(n, dim, points.Values)
	var analysis stat.PC
	if !analysis.PrincipalComponents(matrix, nil) {
		return Points{}, nil, fmt.Errorf("%w: their singular value decomposition does not converge", ErrInvalidPoints)
	}
	if err := ctx.Err(); err != nil {
		return Points{}, nil, err
	}
	projection, explained = project(points, &analysis, components)
	for i, v := range projection.Values {
		projection.Values[i] = math.Ldexp(v, exponent)
	}
	return projection, explained, nil
}

// project returns centred points' coordinates along their first principal components, and the shares of variance.
func project(points Points, analysis *stat.PC, components int) (Points, []float64) {
	var axes mat.Dense
	analysis.VectorsTo(&axes)
	explained := analysis.VarsTo(nil)
	if total := sum(explained); total > 0 {
		for i := range explained {
			explained[i] /= total
		}
	}
	projection := Points{Values: make([]float64, points.Len()*components), Dim: components}
	axis := make([]float64, points.Dim)
	for c := range components {
		mat.Col(axis, c, &axes)
		turn(axis)
		for i := range points.Len() {
			projection.Values[i*components+c] = dot(points.Row(i), axis)
		}
	}
	return projection, explained
}

// turn gives an axis the sign that makes its largest coordinate positive.
func turn(axis []float64) {
	largest := 0.0
	for _, v := range axis {
		if math.Abs(v) > math.Abs(largest) {
			largest = v
		}
	}
	if largest < 0 {
		for d := range axis {
			axis[d] = -axis[d]
		}
	}
}
