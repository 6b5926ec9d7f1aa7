package latent

import (
	"context"
	"errors"
	"fmt"
	"math"
)

var (
	// ErrInvalidPoints means that points or labels can't be analysed as they are.
	ErrInvalidPoints = errors.New("invalid points")
	// ErrInvalidOption means that a parameter of an analysis is out of its range, or too large for so few points.
	ErrInvalidOption = errors.New("invalid option")
	// ErrDiverged means that t-SNE's points ran away to infinity.
	ErrDiverged = errors.New("t-SNE diverged")
)

// maxMagnitude bounds values, so that no squared distance overflows.
const maxMagnitude = 1e100

// Points are n points of Dim coordinates each: n rows, row-major.
type Points struct {
	Values []float64
	Dim    int
}

// Len returns the number of points.
func (p Points) Len() int {
	if p.Dim <= 0 {
		return 0
	}
	return len(p.Values) / p.Dim
}

// Row returns the coordinates of point i. They alias p's.
func (p Points) Row(i int) []float64 { return p.Values[i*p.Dim : (i+1)*p.Dim : (i+1)*p.Dim] }

// check says what keeps the points from being analysed: fewer than want, a ragged last row, or values that are not
// finite.
func (p Points) check(want int) error {
	if p.Dim < 1 {
		return fmt.Errorf("%w: dimension %d, want 1 or more", ErrInvalidPoints, p.Dim)
	}
	if len(p.Values)%p.Dim != 0 {
		return fmt.Errorf("%w: %d values are no whole number of rows of %d", ErrInvalidPoints, len(p.Values), p.Dim)
	}
	if n := p.Len(); n < want {
		return fmt.Errorf("%w: %d points, want %d or more", ErrInvalidPoints, n, want)
	}
	if int64(p.Len()) > math.MaxInt32 {
		return fmt.Errorf("%w: %d points, want at most %d", ErrInvalidPoints, p.Len(), math.MaxInt32)
	}
	for i, v := range p.Values {
		if !(math.Abs(v) <= maxMagnitude) {
			return fmt.Errorf("%w: row %d has %v in column %d, want finite values within %g",
				ErrInvalidPoints, i/p.Dim, v, i%p.Dim, maxMagnitude)
		}
	}
	return nil
}

// checkLabels wants one label for each of the points.
func checkLabels(p Points, labels []byte) error {
	if len(labels) != p.Len() {
		return fmt.Errorf("%w: %d labels for %d points, want one for each", ErrInvalidPoints, len(labels), p.Len())
	}
	return nil
}

func errOneLabel(label byte) error {
	return fmt.Errorf("%w: all labels are %d, want two kinds or more", ErrInvalidPoints, label)
}

// checkEmbedding wants as many points in the embedding as there are originals.
func checkEmbedding(original, embedding Points) error {
	if err := embedding.check(0); err != nil {
		return fmt.Errorf("embedding: %w", err)
	}
	if embedding.Len() != original.Len() {
		return fmt.Errorf("%w: the embedding has %d, the original %d", ErrInvalidPoints, embedding.Len(),
			original.Len())
	}
	return nil
}

// checkNeighbours wants from 1 to most neighbours.
func checkNeighbours(neighbours, most int) error {
	if neighbours < 1 || neighbours > most {
		return fmt.Errorf("%w: %d neighbours, want 1 to %d for so many points", ErrInvalidOption, neighbours, most)
	}
	return nil
}

// squaredDistance returns the sum of (a[i] - b[i])^2 over i, in four interleaved sums. It is the same for (b, a).
func squaredDistance(a, b []float64) float64 {
	var s0, s1, s2, s3 float64
	b = b[:len(a)]
	for len(a) >= 4 && len(b) >= 4 {
		d0, d1, d2, d3 := a[0]-b[0], a[1]-b[1], a[2]-b[2], a[3]-b[3]
		s0 += float64(d0 * d0)
		s1 += float64(d1 * d1)
		s2 += float64(d2 * d2)
		s3 += float64(d3 * d3)
		a, b = a[4:], b[4:]
	}
	for i, v := range a {
		d := v - b[i]
		s0 += float64(d * d)
	}
	return (s0 + s1) + (s2 + s3)
}

// blockLength is how many points one goroutine takes at a time. Sums over points are summed by block, so it is part of
// the numerics: it must not depend on the machine.
const blockLength = 64

func blockCount(n int) int { return (n + blockLength - 1) / blockLength }

func blockRange(block, n int) (first, last int) {
	return block * blockLength, min((block+1)*blockLength, n)
}

// sumOfBlocks returns the sum over points of what f returns for them. Its order depends on n alone.
func sumOfBlocks(ctx context.Context, n int, f func(first, last int) float64) (float64, error) {
	t := newTeam(ctx)
	defer t.stop()
	sums := make([]float64, blockCount(n))
	err := t.do(len(sums), func(block int) { sums[block] = f(blockRange(block, n)) })
	return sum(sums), err
}

func sum(values []float64) float64 {
	var s float64
	for _, v := range values {
		s += v
	}
	return s
}
