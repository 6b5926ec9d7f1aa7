package insight

import (
	"encoding/binary"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// space is what the points of a study's grid are made of: its parameters but for the seed, each with the values that it
// takes. A value is known by its level: its place among them, counted from 1. Level 0 is a parameter that a point's grid
// does not have.
type space struct {
	names  []string
	values [][]*trellisv1.Value
	levels []map[grid.ValueKey]uint32
	// latentDim and maxEpochs are the places of these parameters, by which ties are broken. The first may be -1.
	latentDim, maxEpochs int
}

// newSpace returns the space of a study: the parameters of its grids, and of its points.
func newSpace(snapshot *results.Snapshot, study *trellisv1.Study) (*space, error) {
	parameters := grid.Parameters(study.GetSpec())
	runs, err := snapshot.Served(study.GetName())
	if err != nil {
		return nil, err
	}
	for its := range runs {
		for _, name := range grid.NamesOf(its.Run.Parameters) {
			if !slices.ContainsFunc(parameters, func(p grid.Parameter) bool { return p.Name == name }) {
				// Specs of old leave out what has its default.
				parameters = append(parameters, grid.Parameter{Name: name})
			}
		}
		break
	}
	slices.SortFunc(parameters, func(a, b grid.Parameter) int { return grid.CompareNames(a.Name, b.Name) })
	// Those that older versions knew as fields come first. The order decides only how sums are rounded.
	slices.SortStableFunc(parameters, func(a, b grid.Parameter) int { return rank(a.Name) - rank(b.Name) })
	s := &space{latentDim: -1}
	for place, its := range parameters {
		s.names = append(s.names, its.Name)
		s.values = append(s.values, []*trellisv1.Value{nil})
		s.levels = append(s.levels, map[grid.ValueKey]uint32{{}: 0})
		for _, value := range its.Values {
			s.level(place, value)
		}
		switch its.Name {
		case grid.LatentDim:
			s.latentDim = place
		case grid.MaxEpochs:
			s.maxEpochs = place
		}
	}
	return s, snapshot.Err()
}

func rank(name string) int {
	switch name {
	case grid.LatentDim, grid.LearningRate, grid.WeightDecay, grid.MaxEpochs, grid.BatchSize:
		return 0
	}
	return 1
}

// level returns the level of a value.
func (s *space) level(place int, value *trellisv1.Value) uint32 {
	key := grid.KeyOf(value)
	level, ok := s.levels[place][key]
	if !ok {
		level = uint32(len(s.values[place]))
		s.levels[place][key] = level
		s.values[place] = append(s.values[place], value)
	}
	return level
}

// point is a configuration's parameters, as a key: 4 bytes for each level, in the order of the space's names.
type point string

// points returns the points of a run by its milestones: see at.
func (s *space) points(p *trellisv1.Parameters) []byte {
	data := make([]byte, 0, 4*len(s.names))
	for place, name := range s.names {
		level := uint32(0)
		if place != s.maxEpochs {
			level = s.level(place, p.GetValues()[name])
		}
		data = binary.BigEndian.AppendUint32(data, level)
	}
	return data
}

// at returns the point with the number of epochs. It overwrites what points has returned.
func (s *space) at(points []byte, maxEpochs uint32) point {
	level := s.level(s.maxEpochs, trellisv1.IntegerValue(int64(maxEpochs)))
	binary.BigEndian.PutUint32(points[4*s.maxEpochs:], level)
	return point(points)
}

// levelAt returns a point's level on the axis at a place.
func (p point) levelAt(place int) uint32 {
	return uint32(p[4*place])<<24 | uint32(p[4*place+1])<<16 | uint32(p[4*place+2])<<8 | uint32(p[4*place+3])
}

// value returns a point's value on the axis at a place, or nil if its grid does not have the axis.
func (s *space) value(p point, place int) *trellisv1.Value { return s.values[place][p.levelAt(place)] }

// number returns a point's value on the axis at a place, 0 if it is none or the place is -1.
func (s *space) number(p point, place int) float64 {
	if place < 0 {
		return 0
	}
	if value, ok := s.value(p, place).Numeric(); ok {
		return value
	}
	return 0
}

// isOrdered says whether all values on the axis at a place are numbers.
func (s *space) isOrdered(place int) bool {
	for _, value := range s.values[place][1:] {
		if _, numeric := value.Numeric(); !numeric {
			return false
		}
	}
	return true
}

// parameters is the point as a message, without a seed.
func (s *space) parameters(p point) *trellisv1.Parameters {
	message := &trellisv1.Parameters{
		MaxEpochs: uint32(s.number(p, s.maxEpochs)), Values: map[string]*trellisv1.Value{},
	}
	for place, name := range s.names {
		if value := s.value(p, place); value != nil && place != s.maxEpochs {
			message.Values[name] = value
		}
	}
	return message
}
