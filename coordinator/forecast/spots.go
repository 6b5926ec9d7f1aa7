package forecast

import (
	"iter"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lattice"
)

// AddSpots counts PENDING runs without epochs, as Add does. A million of them take a moment: the classes of runs follow from
// their positions on a few axes, and are remembered.
func (t *Tally) AddSpots(spots iter.Seq[lattice.Spot]) {
	for spot := range spots {
		t.AddSpot(spot)
	}
}

// AddSpot is AddSpots of a single run.
func (t *Tally) AddSpot(spot lattice.Spot) {
	if t.spotted.axes == nil || t.spotted.step != t.classes.step {
		t.spotted = spotted{
			step: t.classes.step, program: t.program(), axes: map[*grid.Product]*axes{}, classes: map[alike]int{},
		}
	}
	of := t.spotted.axesOf(spot.Product)
	which := alike{of.number, of.positions(spot.Rest), t.spotted.endOf(spot.Epochs)}
	class, known := t.spotted.classes[which]
	if !known {
		class = t.classes.add(of.classOf(spot))
		if t.spotted.step == t.classes.step {
			t.spotted.classes[which] = class
		}
	}
	t.queue.add(class, 1)
}

// spotted remembers the classes of runs.
type spotted struct {
	// step is that of the classes: as long as it stays, runs that are alike have the same class.
	step float64
	// program says whether the runs are those of a program.
	program bool
	axes    map[*grid.Product]*axes
	last    *axes
	classes map[alike]int
	// end is that of epochs, the last that were asked for.
	epochs uint32
	end    int32
}

// alike is what runs of one class have in common: their product, their position on each axis that matters, and where they
// end.
type alike struct {
	product   int
	positions [settingCount]int32
	end       int32
}

// endOf returns a number that is the same for ends that runs of one class may have.
func (s *spotted) endOf(epochs uint32) int32 {
	if s.step == 0 {
		return int32(epochs)
	}
	if epochs != s.epochs {
		s.epochs, s.end = epochs, int32(octaves(float64(epochs), s.step))
	}
	return s.end
}

// axes are those of a product that the settings of a run depend on.
type axes struct {
	product *grid.Product
	program bool
	number  int
	of      [settingCount]settingAxis
}

// settingAxis is an axis in the index of a point. An axis that the product does not have has one value.
type settingAxis struct {
	weight, size uint64
	// positions are the same for values that runs of one class may have.
	positions []int32
}

func (s *spotted) axesOf(p *grid.Product) *axes {
	if s.last != nil && s.last.product == p {
		return s.last
	}
	its := s.axes[p]
	if its == nil {
		its = s.newAxes(p)
		s.axes[p] = its
	}
	s.last = its
	return its
}

func (s *spotted) newAxes(p *grid.Product) *axes {
	its := &axes{product: p, program: s.program, number: len(s.axes)}
	weight := uint64(1)
	for i := len(p.Dimensions) - 1; i >= 0; i-- {
		d := &p.Dimensions[i]
		for n, name := range settingNames {
			if d.Name == name {
				its.of[n] = s.newSettingAxis(d, n, weight)
			}
		}
		weight *= d.Size()
	}
	return its
}

func (s *spotted) newSettingAxis(d *grid.Dimension, name int, weight uint64) settingAxis {
	a := settingAxis{weight: weight, size: d.Size(), positions: make([]int32, d.Size())}
	point := &trellisv1.Parameters{Values: map[string]*trellisv1.Value{}}
	for digit := range a.positions {
		if a.positions[digit] = int32(digit); s.step > 0 {
			point.Values[d.Name] = d.Value(uint64(digit))
			a.positions[digit] = int32(settingsOf(point, s.program).down(s.step).list()[name])
		}
	}
	return a
}

// positions returns those of the point at a place in the product.
func (a *axes) positions(rest uint64) (positions [settingCount]int32) {
	for i := range a.of {
		if axis := &a.of[i]; axis.size > 1 {
			positions[i] = axis.positions[rest/axis.weight%axis.size]
		}
	}
	return positions
}

// classOf returns a class of a run alone.
func (a *axes) classOf(spot lattice.Spot) class {
	values := map[string]*trellisv1.Value{}
	rest := spot.Rest
	for i := len(a.product.Dimensions) - 1; i >= 0; i-- {
		d := &a.product.Dimensions[i]
		values[d.Name] = d.Value(rest % d.Size())
		rest /= d.Size()
	}
	return class{
		settings: settingsOf(&trellisv1.Parameters{Values: values}, a.program), maxEpochs: int(spot.Epochs), trajectory: none,
	}
}
