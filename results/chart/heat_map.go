package chart

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/listing"
)

const (
	defaultCells = 100
	// interruptEvery is after how many trials it is asked whether anybody still waits for the answer.
	interruptEvery = 4096
)

// side is one side of a map: an axis, whose levels are put together if there are more than cells.
type side struct {
	axis  int
	of    *axis
	cells int
}

// cell returns the cell of a level: cell c has the levels from c * n / cells on.
func (s *side) cell(level uint32) int {
	n := len(s.of.values)
	if s.cells == n {
		return int(level)
	}
	return int((uint64(level+1)*uint64(s.cells) - 1) / uint64(n))
}

// cellsOf are the cells of all levels.
func (s *side) cellsOf() []int32 {
	cells := make([]int32, len(s.of.values))
	for level := range cells {
		cells[level] = int32(s.cell(uint32(level)))
	}
	return cells
}

// sides returns both sides of a map that a request names. It fails with listing.ErrInvalid.
func (s *source) sides(x, y string, cells int) (both [2]*side, err error) {
	for i, name := range []string{x, y} {
		at, err := s.axes.named([]string{"x", "y"}[i], name)
		if err != nil {
			return both, err
		}
		its := s.axes.all[at]
		both[i] = &side{axis: at, of: its, cells: max(1, min(cells, len(its.values)))}
	}
	return both, nil
}

// HeatMap returns the objective over two axes: see trellisv1.GetHeatMapRequest. It fails with results.ErrNotFound if
// there is no such study, and with listing.ErrInvalid if the request names what there is not.
func HeatMap(snapshot *results.Snapshot, request *trellisv1.GetHeatMapRequest) (*trellisv1.GetHeatMapResponse, error) {
	s, err := newSource(snapshot, request.GetStudy())
	if err != nil {
		return nil, err
	}
	f, err := s.newFilter(request.GetFilter())
	if err != nil {
		return nil, err
	}
	sides, err := s.sides(request.GetX(), request.GetY(), orDefault(request.GetCells(), defaultCells))
	if err != nil {
		return nil, err
	}
	m := newHeat(sides, request.GetFold() == trellisv1.Fold_FOLD_MEAN)
	place := s.placer(sides)
	basis, err := s.ranked(f, s.mostRanked(f, true), func(rank int, k listing.Key) error {
		at, ok, err := place(k.Index())
		if err != nil || !ok {
			return err
		}
		value, finite := s.objective(rank, k)
		m.add(at, k.Index(), value, finite)
		return nil
	})
	if err != nil {
		return nil, err
	}
	response := m.message(request.GetAxisValues())
	response.Basis = basis
	return response, snapshot.Err()
}

// placer returns a function that says in which cell of a map a trial is, if it has both parameters.
func (s *source) placer(sides [2]*side) func(index uint64) (cell int, ok bool, err error) {
	x, y := sides[0], sides[1]
	columns, ofX, ofY := x.cells, x.cellsOf(), y.cellsOf()
	positions, levels := []int{x.axis, y.axis}, make([]uint32, 2)
	cell := func(a, b uint32) (int, bool) {
		if a == none || b == none || int(a) >= len(ofX) || int(b) >= len(ofY) {
			return 0, false // A value that the spec does not have.
		}
		return int(ofY[b])*columns + int(ofX[a]), true
	}
	return func(index uint64) (int, bool, error) {
		if s.axes.follow(index) {
			p := s.axes.product(index)
			at, ok := cell(p.level(index, x.axis), p.level(index, y.axis))
			return at, ok, nil
		}
		if err := s.axes.read(index, positions, levels); err != nil {
			return 0, false, err
		}
		at, ok := cell(levels[0], levels[1])
		return at, ok, nil
	}
}

// heat is a heat map that is being made. Trials are added best first.
type heat struct {
	sides            [2]*side
	mean             bool
	values           []float64
	counts, diverged []uint32
	best             []uint64
}

func newHeat(sides [2]*side, mean bool) *heat {
	n := sides[0].cells * sides[1].cells
	return &heat{
		sides: sides, mean: mean, values: make([]float64, n), counts: make([]uint32, n), diverged: make([]uint32, n),
		best: make([]uint64, n),
	}
}

func (m *heat) add(cell int, index uint64, value float64, finite bool) {
	if !finite {
		m.diverged[cell]++
		return
	}
	m.counts[cell]++
	if m.counts[cell] == 1 {
		m.best[cell], m.values[cell] = index, value
	} else if m.mean {
		// Sums could overflow.
		m.values[cell] += (value - m.values[cell]) / float64(m.counts[cell])
	}
}

func (m *heat) message(axisValues uint32) *trellisv1.GetHeatMapResponse {
	for cell, count := range m.counts {
		if count == 0 {
			m.values[cell] = math.NaN()
		}
	}
	return &trellisv1.GetHeatMapResponse{
		X: m.sides[0].of.message(axisValues), Y: m.sides[1].of.message(axisValues),
		Columns: uint32(m.sides[0].cells), Rows: uint32(m.sides[1].cells),
		Values: float64s(m.values), Counts: uint32s(m.counts), Diverged: uint32s(m.diverged), Best: m.best,
	}
}
