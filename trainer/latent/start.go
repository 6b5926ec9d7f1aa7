package latent

import (
	"context"
	"math"

	"trellis/trainer/stream"
)

// startDeviation is the standard deviation of the start along its first axis.
const startDeviation = 1e-4

// startPurpose keys the stream of random starts. It lies beyond the purposes of training, which package stream lists.
const startPurpose stream.Purpose = 1 << 16

// randomStart returns n rows of dim numbers drawn evenly, with the start's standard deviation.
func randomStart(n, dim int, seed uint32) []float64 {
	values := make([]float64, n*dim)
	random := stream.New(seed, startPurpose, 0)
	// Evenly from [-1, 1) is a variance of 1/3.
	bound := startDeviation * math.Sqrt(3)
	for i := range values {
		values[i] = float64(random.Symmetric()) * bound
	}
	return values
}

// principalStart sets start to the projections of points, whose means are 0, on their first dim principal axes, scaled
// to the start's standard deviation along the first. Where points don't vary along so many, start keeps what it has.
func principalStart(ctx context.Context, points Points, dim int, start []float64) error {
	n := points.Len()
	axes := principalAxes(ctx, points, dim)
	if err := ctx.Err(); err != nil {
		return err
	}
	var scale float64
	for a, axis := range axes {
		var squares float64
		for i := range n {
			projection := dot(points.Row(i), axis)
			squares += float64(projection * projection)
			start[i*dim+a] = projection
		}
		if a == 0 {
			scale = startDeviation / math.Sqrt(squares/float64(n))
		}
		for i := range n {
			start[i*dim+a] *= scale
		}
	}
	return nil
}

// axisRounds is how often each axis is multiplied by the covariance matrix. An axis turns towards another by the ratio
// of their variances each time: 100 rounds tell apart those that differ by a tenth, and it does not matter to t-SNE
// which of two begins the map whose variances are closer than that.
const axisRounds = 100

// principalAxes returns up to count orthonormal axes, along which the points, whose means are 0, vary most: fewer if
// they don't vary along more. Its arithmetic is the same on every platform, other than PCA's.
func principalAxes(ctx context.Context, points Points, count int) [][]float64 {
	var axes [][]float64
	off := make([]float64, points.Dim)
	for len(axes) < min(count, points.Dim) {
		// From the point that lies farthest off the earlier axes.
		var axis []float64
		farthest := 0.0
		for i := range points.Len() {
			copy(off, points.Row(i))
			if length := orthogonalise(off, axes); length > farthest {
				farthest, axis = length, append(axis[:0], off...)
			}
		}
		if axis == nil {
			return axes
		}
		for range axisRounds {
			if ctx.Err() != nil {
				return axes
			}
			axis = covariance(points, axis)
			orthogonalise(axis, axes)
		}
		axes = append(axes, axis)
	}
	return axes
}

// covariance returns the product of the points' covariance matrix, times their number, with v.
func covariance(points Points, v []float64) []float64 {
	product := make([]float64, len(v))
	for i := range points.Len() {
		row := points.Row(i)
		along := dot(row, v)
		for d, x := range row {
			product[d] += float64(along * x)
		}
	}
	return product
}

// orthogonalise takes the axes out of v and scales it to length 1. It returns the length it had, 0 if nothing is left.
func orthogonalise(v []float64, axes [][]float64) float64 {
	before := math.Sqrt(dot(v, v))
	// Twice is enough (Kahan, Parlett): what rounding left of the axes goes the second time.
	for range 2 {
		for _, axis := range axes {
			along := dot(v, axis)
			for d, x := range axis {
				v[d] -= float64(along * x)
			}
		}
	}
	length := math.Sqrt(dot(v, v))
	if length <= 1e-10*before {
		return 0
	}
	for d := range v {
		v[d] /= length
	}
	return length
}

func dot(a, b []float64) float64 {
	var s float64
	b = b[:len(a)]
	for i, x := range a {
		s += float64(x * b[i])
	}
	return s
}
