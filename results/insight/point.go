package insight

import (
	"encoding/binary"
	"math"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// axis is one of the parameters that make a point of a grid.
type axis struct {
	name  string
	value func(*point) float64
}

// commonAxes are those that every study has, in their places: all but the seed, which is the last and repeats a point.
var commonAxes = newCommonAxes()

func newCommonAxes() []axis {
	axes := make([]axis, grid.Seed)
	for place := range axes {
		axes[place] = axis{
			grid.CommonAxes[place].GetName(), func(p *point) float64 { return p.common.At(place) },
		}
	}
	return axes
}

// axesWith are commonAxes and behind them those that only the study's model has.
func axesWith(own []string) []axis {
	axes := commonAxes[:len(commonAxes):len(commonAxes)]
	for place, name := range own {
		axes = append(axes, axis{name, func(p *point) float64 { return p.own.at(place) }})
	}
	return axes
}

// point is a configuration's parameters, as a key.
type point struct {
	// common has the seed 0.
	common grid.Key
	own    ownValues
}

func newPoint(p *trellisv1.Parameters, maxEpochs uint32, own ownValues) point {
	at := point{grid.KeyOf(p), own}
	at.common.Set(grid.MaxEpochs, float64(maxEpochs))
	at.common.Set(grid.Seed, 0)
	return at
}

// parameters is the point as a message, without a seed. own names its study's own axes.
func (p *point) parameters(own []string) *trellisv1.Parameters {
	return p.common.Parameters(p.own.values(own))
}

// ownValues are a trial's values on its study's own axes, as a part of a key: 8 bytes each, in the order of their
// names. It is empty if there are none, and takes no memory then.
type ownValues string

func ownValuesOf(p *trellisv1.Parameters, names []string) ownValues {
	if len(names) == 0 {
		return ""
	}
	var room [16 * 8]byte
	data := room[:0]
	for _, name := range names {
		data = binary.BigEndian.AppendUint64(data, math.Float64bits(p.GetValues()[name]))
	}
	return ownValues(data)
}

// at returns the value on the axis at a place among the names.
func (v ownValues) at(place int) float64 {
	bits := uint64(0)
	for _, b := range []byte(v[8*place : 8*place+8]) {
		bits = bits<<8 | uint64(b)
	}
	return math.Float64frombits(bits)
}

// values are those by name, nil if there are none.
func (v ownValues) values(names []string) map[string]float64 {
	if len(names) == 0 {
		return nil
	}
	values := make(map[string]float64, len(names))
	for place, name := range names {
		values[name] = v.at(place)
	}
	return values
}
