package chart

import (
	"math"
	"math/bits"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

const (
	defaultStretches = 1000
	// maxVisited is how many runs a map looks at one by one: those that have not all succeeded with their neighbors,
	// and those whose results come from other studies. Of more, an even sample is, and counts are estimated.
	maxVisited = 1 << 16
	// maxAccounts is of how many sections it is found out, in one answer, how many results come from other studies.
	// That reads all their runs, once.
	maxAccounts = 256
)

const states = int(trellisv1.PointState_POINT_STATE_NOT_VISITED) + 1

// coverage is a map that is being made.
type coverage struct {
	*source
	columns, rows int
	// pairs says that the map is over two axes.
	pairs bool
	cell  func(index uint64) (cell int, ok bool, err error)
	// counts are by state and cell. Those of UNSPECIFIED are all trials of the study.
	counts [states][]float64
	// estimated says that some counts are of a sample.
	estimated bool
	filter    *filter
}

// Coverage returns what has become of each part of a study's grid: see trellisv1.GetCoverageRequest. It fails with
// results.ErrNotFound if there is no such study, and with listing.ErrInvalid if the request names what there is not.
func Coverage(snapshot *results.Snapshot, request *trellisv1.GetCoverageRequest) (*trellisv1.GetCoverageResponse, error) {
	s, err := newSource(snapshot, request.GetStudy())
	if err != nil {
		return nil, err
	}
	m := &coverage{source: s, columns: 1, rows: 1}
	if m.filter, err = s.newFilter(request.GetFilter()); err != nil {
		return nil, err
	}
	response := &trellisv1.GetCoverageResponse{Indices: s.catalog.Indices()}
	if request.GetX() == "" {
		m.inOrder(orDefault(request.GetCells(), defaultStretches))
	} else {
		var sides [2]*side
		if sides, err = s.sides(request.GetX(), request.GetY(), orDefault(request.GetCells(), defaultCells)); err != nil {
			return nil, err
		}
		response.X, response.Y = sides[0].of.message(0), sides[1].of.message(0)
		err = m.overAxes(sides)
	}
	adds := []func() error{m.addRanked, m.addOpen, m.addShared}
	if !m.filter.empty {
		adds = m.filtered()
	}
	for _, add := range adds {
		if err == nil {
			err = add()
		}
	}
	if err != nil {
		return nil, err
	}
	m.finish(response)
	return response, snapshot.Err()
}

func (m *coverage) allocate(columns, rows int) {
	m.columns, m.rows = columns, rows
	for state := range m.counts {
		m.counts[state] = make([]float64, columns*rows)
	}
}

// inOrder makes a map in the order of the indexes.
func (m *coverage) inOrder(cells int) {
	indices := m.catalog.Indices()
	columns := uint64(cells)
	columns = max(1, min(columns, indices))
	m.allocate(int(columns), 1)
	m.cell = func(index uint64) (int, bool, error) {
		return int(stretchOf(index, columns, indices)), index < indices, nil
	}
	for c := range columns {
		from, to := edge(c, columns, indices), edge(c+1, columns, indices)
		if m.catalog.Base != nil {
			within, all := m.catalog.Base.Count(from, to)
			m.counts[0][c] += float64(within)
			m.counts[trellisv1.PointState_POINT_STATE_NOT_VISITED][c] = float64(all - within)
		}
	}
	for _, listed := range m.catalog.Listed() {
		m.counts[0][stretchOf(listed.Index, columns, indices)]++
	}
}

// edge returns the first index of a cell: c * indices / columns.
func edge(c, columns, indices uint64) uint64 {
	high, low := bits.Mul64(c, indices)
	quotient, _ := bits.Div64(high, low, columns)
	return quotient
}

// stretchOf returns the cell of an index: the inverse of edge.
func stretchOf(index, columns, indices uint64) uint64 {
	if index < 1<<40 && columns < 1<<23 {
		return ((index+1)*columns - 1) / indices
	}
	high, low := bits.Mul64(index+1, columns)
	low, borrow := bits.Sub64(low, 1, 0)
	quotient, _ := bits.Div64(high-borrow, low, indices)
	return quotient
}

// overAxes makes a map over two axes.
func (m *coverage) overAxes(sides [2]*side) error {
	m.allocate(sides[0].cells, sides[1].cells)
	m.cell, m.pairs = m.placer(sides), true
	put := func(state trellisv1.PointState, index uint64, n float64) error {
		cell, ok, err := m.cell(index)
		if ok {
			m.counts[state][cell] += n
		}
		return err
	}
	if base := m.catalog.Base; base != nil && m.axes.products != nil {
		ofX, ofY := sides[0].cellsOf(), sides[1].cellsOf()
		for k := range base.Grid().Products() {
			p := &base.Grid().Products()[k]
			x, y := lattice.DimensionOf(p, sides[0].of.name), lattice.DimensionOf(p, sides[1].of.name)
			if x < 0 || y < 0 {
				continue
			}
			levelsX, levelsY := m.axes.products[k].digits[sides[0].axis].levels, m.axes.products[k].digits[sides[1].axis].levels
			for pair := range base.Pairs(k, x, y) {
				cell := int(ofY[levelsY[pair.Y]])*m.columns + int(ofX[levelsX[pair.X]])
				m.counts[0][cell] += float64(pair.N)
			}
		}
		if kept, ok := base.Kept(); ok {
			notVisited := m.counts[trellisv1.PointState_POINT_STATE_NOT_VISITED]
			copy(notVisited, m.counts[0])
			clear(m.counts[0])
			for _, index := range kept {
				if err := put(0, index, 1); err != nil {
					return err
				}
			}
			for cell := range notVisited {
				notVisited[cell] -= m.counts[0][cell]
			}
		}
	} else if base != nil {
		if err := m.addPoints(put); err != nil {
			return err
		}
	}
	listed := m.catalog.Listed()
	sample := even(0, len(listed), min(len(listed), maxLooked))
	weight := m.weight(len(sample), len(listed))
	for _, at := range sample {
		if err := put(0, listed[at].Index, weight); err != nil {
			return err
		}
	}
	return m.snapshot.Err()
}

// weight is how many each of a sample stands for.
func (m *coverage) weight(read, total int) float64 {
	if read == total {
		return 1
	}
	m.estimated = true
	return float64(total) / float64(read)
}

// addPoints counts the trials of grids that overlap, of which a sample is read.
func (m *coverage) addPoints(put func(trellisv1.PointState, uint64, float64) error) error {
	base := m.catalog.Base
	places := even(0, int(base.Runs()), min(int(base.Runs()), maxLooked))
	weight := m.weight(len(places), int(base.Runs()))
	for i, place := range places {
		if i%interruptEvery == 0 && m.snapshot.Err() != nil {
			return m.snapshot.Err()
		}
		for _, index := range base.Indexes(uint32(place)) {
			if err := put(0, index, weight); err != nil {
				return err
			}
		}
	}
	return nil
}

// addRanked counts the trials with results.
func (m *coverage) addRanked() error {
	// m.cell knows the filter.
	all := &filter{s: m.source, empty: true, ofPoint: true, remembered: map[string]bool{}}
	most := m.mostRanked(all, m.pairs || !m.filter.empty)
	weight := m.weight(most, m.ranks.total)
	_, err := m.ranked(all, most, func(rank int, k listing.Key) error {
		state := trellisv1.PointState_POINT_STATE_TRAINED
		if rank >= m.ranks.finite {
			state = trellisv1.PointState_POINT_STATE_DIVERGED
		}
		cell, ok, err := m.cell(k.Index())
		if ok {
			m.counts[state][cell] += weight
		}
		return err
	})
	return err
}

// openStates are those of trials without results.
var openStates = map[trellisv1.TrialState]trellisv1.PointState{
	lifecycle.TrialPending:  trellisv1.PointState_POINT_STATE_PENDING,
	lifecycle.TrialRunning:  trellisv1.PointState_POINT_STATE_RUNNING,
	lifecycle.TrialFailed:   trellisv1.PointState_POINT_STATE_FAILED,
	lifecycle.TrialCanceled: trellisv1.PointState_POINT_STATE_CANCELED,
	lifecycle.TrialPruned:   trellisv1.PointState_POINT_STATE_PRUNED,
}

// sectionsOf returns some of the study's sections, at most so many that they have maxVisited runs together, and how
// many each stands for.
func (m *coverage) sectionsOf(which func(results.Section) bool) ([]results.Section, float64, error) {
	all, err := m.snapshot.Sections(m.catalog)
	if err != nil {
		return nil, 0, err
	}
	var wanted []results.Section
	runs := 0
	for section := range all {
		if which(section) {
			wanted = append(wanted, section)
			runs += section.Size()
		}
	}
	if runs <= maxVisited {
		return wanted, 1, m.snapshot.Err()
	}
	most := max(1, len(wanted)*maxVisited/runs)
	sample := make([]results.Section, 0, most)
	for _, at := range even(0, len(wanted), most) {
		sample = append(sample, wanted[at])
	}
	return sample, m.weight(len(sample), len(wanted)), m.snapshot.Err()
}

// addOpen counts the trials of touched runs that have no results.
func (m *coverage) addOpen() error {
	sections, weight, err := m.sectionsOf(func(section results.Section) bool { return !section.Sealed() })
	if err != nil {
		return err
	}
	for _, section := range sections {
		if m.snapshot.Err() != nil {
			return m.snapshot.Err()
		}
		for slot := range section.Size() {
			run := section.Trajectory(slot)
			if run == nil || len(run.Answers) == len(run.Run.Milestones) {
				continue
			}
			state := openStates[trajectory.Unanswered(run.Run)]
			for _, index := range m.catalog.IndexesAt(section.First() + uint32(slot))[len(run.Answers):] {
				cell, ok, err := m.cell(index)
				if err != nil {
					return err
				}
				if ok {
					m.counts[state][cell] += weight
				}
			}
		}
	}
	return nil
}

// addShared finds out which of the trained trials have their results from other studies.
func (m *coverage) addShared() error {
	if m.study.GetProgress().GetEpochsShared() == 0 {
		return nil
	}
	accounts, unknown := 0, 0
	sections, weight, err := m.sectionsOf(func(section results.Section) bool {
		if section.Sealed() && !section.Accounted() {
			if accounts++; accounts > maxAccounts {
				unknown++
				return false
			}
		}
		return section.Account().Shared > 0
	})
	if err != nil {
		return err
	}
	m.estimated = m.estimated || unknown > 0
	for _, section := range sections {
		if m.snapshot.Err() != nil {
			return m.snapshot.Err()
		}
		if err := m.share(m.sharedIn(section), weight); err != nil {
			return err
		}
	}
	return nil
}

// sharedKey is what the trials of a section that come from other studies are kept by.
type sharedKey struct{}

// sharedIn returns the trials of a section whose results come from other studies.
func (m *coverage) sharedIn(section results.Section) []uint64 {
	if sum := section.Account(); sum.Shared == sum.Trials && section.Sealed() {
		var all []uint64
		for slot := range section.Size() {
			all = append(all, m.catalog.IndexesAt(section.First()+uint32(slot))...)
		}
		return all
	}
	return results.Keep(section, sharedKey{}, func() (some []uint64) {
		for slot := range section.Size() {
			run := section.Trajectory(slot)
			if run == nil || run.Run.SharedEpochs == 0 {
				continue
			}
			for _, trial := range run.Answers {
				if listing.Finite(trial.Objective) && trial.Epochs <= run.Run.SharedEpochs {
					some = append(some, trial.Index)
				}
			}
		}
		return some
	})
}

// share moves trials from those that were trained to those that come from other studies.
func (m *coverage) share(indexes []uint64, weight float64) error {
	for _, index := range indexes {
		cell, ok, err := m.cell(index)
		if err != nil {
			return err
		}
		if ok {
			m.counts[trellisv1.PointState_POINT_STATE_TRAINED][cell] -= weight
			m.counts[trellisv1.PointState_POINT_STATE_SHARED][cell] += weight
		}
	}
	return nil
}

// finish gives those trials their state that nobody has touched, and writes the layers.
func (m *coverage) finish(response *trellisv1.GetCoverageResponse) {
	untouched := openStates[lifecycle.TrialPending]
	if u := m.catalog.UntouchedState(); u != nil {
		untouched = openStates[u.State]
	}
	for cell, total := range m.counts[0] {
		rest := total
		for state := 1; state < int(trellisv1.PointState_POINT_STATE_NOT_VISITED); state++ {
			m.counts[state][cell] = math.Max(0, m.counts[state][cell])
			rest -= m.counts[state][cell]
		}
		m.counts[untouched][cell] += math.Max(0, rest)
	}
	response.Columns, response.Rows = uint32(m.columns), uint32(m.rows)
	for state := 1; state < states; state++ {
		total := 0.0
		for _, n := range m.counts[state] {
			total += n
		}
		if total > 0 {
			response.Layers = append(response.Layers, &trellisv1.GetCoverageResponse_Layer{
				State: trellisv1.PointState(state), Counts: float64s(m.counts[state]), Total: uint64(math.Round(total)),
			})
		}
	}
	trials := int(m.catalog.Trials())
	response.Basis = m.basis(trials, trials)
	response.Basis.Exact = !m.estimated
}
