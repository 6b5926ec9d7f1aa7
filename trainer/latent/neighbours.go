package latent

import (
	"cmp"
	"context"
	"math"
	"slices"
)

// leafPoints is how many points a leaf of the vantage-point tree has at most.
const leafPoints = 32

// vantageTree finds the nearest neighbours among points exactly (Yianilos, "Data structures and algorithms for nearest
// neighbor search in general metric spaces", 1993).
//
// The tree is in the order of the points: of those from first to last, the first is the vantage point, the nearer half
// of the others follows it, then the farther half. Ranges of up to leafPoints points are leaves.
type vantageTree struct {
	dim int
	// order has the points' numbers, and values their coordinates in that order.
	order  []int32
	values []float64
	// radius of a vantage point, at its place in order: no point of the nearer half is farther, none of the other
	// nearer.
	radius []float64
}

// neighbour is a point with its squared distance from another.
type neighbour struct {
	distance float64
	point    int32
}

// compare orders neighbours by distance, equally far ones by number. So nearest neighbours are unique.
func (a neighbour) compare(b neighbour) int {
	return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.point, b.point))
}

func (a neighbour) less(b neighbour) bool {
	return a.distance < b.distance || a.distance == b.distance && a.point < b.point
}

func sortNeighbours(neighbours []neighbour) { slices.SortFunc(neighbours, neighbour.compare) }

// nearestNeighbours returns the k nearest others of every point, nearest first: n rows of k. k is less than the number
// of points.
func nearestNeighbours(ctx context.Context, points Points, k int) ([]neighbour, error) {
	tree, err := newVantageTree(ctx, points)
	if err != nil {
		return nil, err
	}
	n := points.Len()
	all := make([]neighbour, n*k)
	t := newTeam(ctx)
	defer t.stop()
	err = t.do(blockCount(n), func(block int) {
		// In the tree's order, so that searches one after another go similar ways.
		for place := range intRange(blockRange(block, n)) {
			row := int(tree.order[place]) * k
			s := search{
				tree: tree, query: tree.row(place), self: tree.order[place],
				nearest: all[row : row : row+k], farthest: math.Inf(1), reach: math.Inf(1),
			}
			s.visit(0, n)
			sortNeighbours(s.nearest)
		}
	})
	return all, err
}

// intRange yields first to last-1.
func intRange(first, last int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := first; i < last && yield(i); i++ {
		}
	}
}

func newVantageTree(ctx context.Context, points Points) (*vantageTree, error) {
	n := points.Len()
	t := &vantageTree{
		dim: points.Dim, order: make([]int32, n), values: make([]float64, len(points.Values)),
		radius: make([]float64, n),
	}
	for i := range t.order {
		t.order[i] = int32(i)
	}
	if err := t.arrange(ctx, points, make([]neighbour, n), 0, n); err != nil {
		return nil, err
	}
	for place, i := range t.order {
		copy(t.row(place), points.Row(int(i)))
	}
	return t, nil
}

func (t *vantageTree) row(place int) []float64 { return t.values[place*t.dim : (place+1)*t.dim] }

// split returns where the farther half begins.
func split(first, last int) int { return (first + 1 + last) / 2 }

// arrange orders the points from first to last. others is scratch, one for each point.
func (t *vantageTree) arrange(ctx context.Context, points Points, others []neighbour, first, last int) error {
	if last-first <= leafPoints {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// The last of a range is far from the vantage point above: at the edge of its half, which separates best.
	t.order[first], t.order[last-1] = t.order[last-1], t.order[first]
	vantage := points.Row(int(t.order[first]))
	others = others[:last-first-1]
	for i, point := range t.order[first+1 : last] {
		others[i] = neighbour{squaredDistance(vantage, points.Row(int(point))), point}
	}
	sortNeighbours(others)
	for i, other := range others {
		t.order[first+1+i] = other.point
	}
	middle := split(first, last)
	t.radius[first] = math.Sqrt(others[middle-first-1].distance)
	if err := t.arrange(ctx, points, others, first+1, middle); err != nil {
		return err
	}
	return t.arrange(ctx, points, others, middle, last)
}

// search looks for the nearest neighbours of one point.
type search struct {
	tree  *vantageTree
	query []float64
	self  int32
	// nearest is a heap with the farthest on top, as long as its capacity once that many were seen.
	nearest []neighbour
	// farthest is the squared distance of the farthest of the nearest, reach its root; infinite while there are too
	// few.
	farthest, reach float64
}

// rounding is more than the relative error of a distance: a half is passed over only if it is farther than reach by
// more than rounding can explain.
const rounding = 1e-12

func (s *search) visit(first, last int) {
	if last-first <= leafPoints {
		for place := first; place < last; place++ {
			if squared := squaredDistance(s.query, s.tree.row(place)); squared <= s.farthest {
				s.consider(place, squared)
			}
		}
		return
	}
	squared := squaredDistance(s.query, s.tree.row(first))
	s.consider(first, squared)
	distance, radius, middle := math.Sqrt(squared), s.tree.radius[first], split(first, last)
	slack := float64(rounding * (distance + radius))
	if distance < radius {
		s.visit(first+1, middle)
		if radius-distance-slack <= s.reach {
			s.visit(middle, last)
		}
		return
	}
	s.visit(middle, last)
	if distance-radius-slack <= s.reach {
		s.visit(first+1, middle)
	}
}

func (s *search) consider(place int, distance float64) {
	candidate := neighbour{distance, s.tree.order[place]}
	if candidate.point == s.self {
		return
	}
	heap := s.nearest
	if len(heap) < cap(heap) {
		heap = append(heap, candidate)
		for i := len(heap) - 1; i > 0; {
			parent := (i - 1) / 2
			if !heap[parent].less(heap[i]) {
				break
			}
			heap[parent], heap[i] = heap[i], heap[parent]
			i = parent
		}
		s.nearest = heap
		if len(heap) == cap(heap) {
			s.farthest, s.reach = heap[0].distance, math.Sqrt(heap[0].distance)
		}
		return
	}
	if !candidate.less(heap[0]) {
		return
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(heap) {
			break
		}
		if child+1 < len(heap) && heap[child].less(heap[child+1]) {
			child++
		}
		if !candidate.less(heap[child]) {
			break
		}
		heap[i] = heap[child]
		i = child
	}
	heap[i] = candidate
	s.farthest, s.reach = heap[0].distance, math.Sqrt(heap[0].distance)
}
