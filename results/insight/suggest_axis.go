package insight

import (
	"math"
	"slices"
	"strconv"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// searchAxis is an axis on which a suggested study goes on from the best value.
type searchAxis struct {
	// ModelAxis has the axis's name and bounds.
	*trellisv1.ModelAxis
	// tried are the values that the study has, ascending; compared is how many of them have an answer.
	tried    []float64
	compared int
	best     float64
	// bestValue is the best configuration's value. It is nil if its grid does not have the axis.
	bestValue *trellisv1.Value
	// categories are the levels that the study has of an axis without an order, which has nothing in tried; kept are the
	// values that contend, the best first.
	categories []uint32
	kept       []*trellisv1.Value
	// total is the share of the variance that the axis explains with all its interactions.
	total float64
	// logarithmic says that values are spaced by ratios. 0 has no place among them: it stands for itself.
	logarithmic bool
	// count is how many values the suggested axis may have.
	count int
}

// places are those, among a survey's axes, of the axes that are searched: all but max_epochs.
func (s *survey) places() (places []int) {
	for place := range s.axes.names {
		if place != s.axes.maxEpochs {
			places = append(places, place)
		}
	}
	return places
}

// isOrdered says whether the axis at a place has numbers alone, at all points.
func (s *survey) isOrdered(place int) bool {
	return s.axes.isOrdered(place) && !slices.Contains(s.tried[place], 0)
}

// numbers are the values that were tried on an ordered axis, ascending.
func (s *survey) numbers(place int) []float64 {
	numbers := make([]float64, len(s.tried[place]))
	for i, level := range s.tried[place] {
		numbers[i], _ = s.axes.values[place][level].Numeric()
	}
	return numbers
}

// boundsOf returns the name and bounds of an axis. An axis that the model does not have, or of a program, is bounded by what
// was tried.
func (s *survey) boundsOf(at int, models grid.Models) *trellisv1.ModelAxis {
	name := s.axes.names[at]
	if axis := grid.Axis(models.Find(s.study.GetSpec().GetModel()), name); axis != nil {
		return axis
	}
	axis := &trellisv1.ModelAxis{Name: name}
	if s.isOrdered(at) {
		tried := s.numbers(at)
		axis.Minimum, axis.Maximum, axis.Kind = tried[0], tried[len(tried)-1], trellisv1.Kind_KIND_INTEGER
		for _, level := range s.tried[at] {
			if grid.KindOf(s.axes.values[at][level]) != trellisv1.Kind_KIND_INTEGER {
				axis.Kind = trellisv1.Kind_KIND_NUMBER
			}
		}
		if s.study.GetSpec().GetProgram() != nil {
			guessBounds(axis, tried, isLogarithmic(s.study.GetSpec(), name, tried))
		}
	}
	return axis
}

// largest is the largest whole number that a parameter takes.
const largest = 1 << 53

// guessBounds gives a program's axis the bounds that its values suggest, because nobody says them: it keeps its sign, and a
// share of 1 stays one.
func guessBounds(axis *trellisv1.ModelAxis, tried []float64, logarithmic bool) {
	smallest, share := tried[0], axis.Kind == trellisv1.Kind_KIND_NUMBER && tried[len(tried)-1] <= 1
	axis.Minimum, axis.Maximum = -largest, largest
	switch {
	case smallest < 0:
		return
	case smallest > 0 && axis.Kind == trellisv1.Kind_KIND_INTEGER:
		axis.Minimum = 1
	default:
		axis.Minimum, axis.ExclusiveMinimum = 0, smallest > 0
	}
	if share && !logarithmic {
		axis.Maximum = 1
	}
}

// bestQuarter is the share of the findings among which a category must have one to stay.
const bestQuarter = 0.25

// contending are the values of an axis without an order that are among the best: those of the best quarter of the
// findings, the best first.
func (s *survey) contending(at int) (values []*trellisv1.Value) {
	ranked := make([]*finding, len(s.findings))
	for k := range s.findings {
		ranked[k] = &s.findings[k]
	}
	slices.SortFunc(ranked, compareFindings)
	seen := map[uint32]bool{}
	for _, found := range ranked[:int(math.Ceil(bestQuarter*float64(len(ranked))))] {
		if level := found.levelAt(at); !seen[level] {
			seen[level] = true
			values = append(values, s.axes.values[at][level])
		}
	}
	return values
}

// decade is the spacing of a logarithmic axis that has no other.
const decade = math.Ln10

// isLogarithmic says how an axis is spaced: as its range in the spec says; a list as its steps are more even. Two
// values have but one step, and these parameters are mostly thought of in ratios.
func isLogarithmic(spec *trellisv1.StudySpec, axis string, tried []float64) bool {
	if logarithmic, ranged := grid.RangeOf(spec, axis); ranged {
		return logarithmic
	}
	switch {
	case tried[0] < 0:
		return false
	case len(tried) < 3:
		return true
	}
	var logarithms []float64
	for _, value := range tried {
		if value > 0 {
			logarithms = append(logarithms, math.Log(value))
		}
	}
	const rounding = 1 + 1e-9
	return unevenness(logarithms)*rounding < unevenness(tried)
}

// unevenness is the largest step between neighbors as a multiple of the smallest.
func unevenness(values []float64) float64 {
	smallest, largest := math.Inf(1), 0.0
	for i := range values[1:] {
		step := values[i+1] - values[i]
		smallest, largest = min(smallest, step), max(largest, step)
	}
	return largest / smallest
}

// place takes a value to the scale on which the axis is evenly spaced, and value takes it back.
func (a *searchAxis) place(value float64) float64 {
	if a.logarithmic {
		return math.Log(value)
	}
	return value
}

func (a *searchAxis) value(place float64) float64 {
	if a.logarithmic {
		return math.Exp(place)
	}
	return place
}

// values are those of the suggested axis, ascending: the best one, and at most count-1 round it. They divide the steps
// to its two neighbors evenly. On an edge, half of them go beyond it, at the old spacing. There is the best one alone
// only if there is no other value between these.
func (a *searchAxis) values() []float64 {
	at, _ := slices.BinarySearch(a.tried, a.best)
	if a.logarithmic && a.best == 0 {
		return a.aboveZero()
	}
	below, above := (a.count-1)/2, a.count/2
	if at == 0 {
		below, above = above, below
	}
	values := slices.Concat([]float64{a.best}, a.beside(at, -1, below), a.beside(at, 1, above))
	// Where there is none, such as beyond a limit, there may be some on the other side.
	for _, side := range []int{-1, 1} {
		if len(values) == 1 {
			values = append(values, a.beside(at, side, a.count-1)...)
		}
	}
	slices.Sort(values)
	return values
}

// beside returns at most n values on one side of the best, which is that at a place: below it if side is -1, above it
// if it is 1.
func (a *searchAxis) beside(at, side, n int) []float64 {
	if next := at + side; next >= 0 && next < len(a.tried) {
		return a.divide(float64(side)*a.step(next), n)
	}
	return a.walk(float64(side)*a.step(at-side), n)
}

// step is how far the best value is from one of the tried ones. There is always another one.
func (a *searchAxis) step(other int) float64 {
	if a.logarithmic && a.tried[other] == 0 {
		return a.spacingAboveZero()
	}
	return math.Abs(a.place(a.tried[other]) - a.place(a.best))
}

// spacingAboveZero is the first step of a logarithmic axis that has 0 too.
func (a *searchAxis) spacingAboveZero() float64 {
	if len(a.tried) < 3 {
		return decade
	}
	return a.place(a.tried[2]) - a.place(a.tried[1])
}

// aboveZero are the values of a logarithmic axis whose best is 0: below the smallest that was tried, at most two.
func (a *searchAxis) aboveZero() []float64 {
	from := *a
	from.best = a.tried[1]
	values := append(from.walk(-a.spacingAboveZero(), min(a.count-1, 2)), 0)
	slices.Sort(values)
	return values
}

// divide returns n values evenly between the best and the one that is a step from it.
func (a *searchAxis) divide(step float64, n int) []float64 {
	end := a.value(a.place(a.best) + step)
	values := a.walk(step/float64(n+1), n)
	// What was rounded to an end is there already.
	return slices.DeleteFunc(values, func(value float64) bool {
		return value <= min(a.best, end) || value >= max(a.best, end)
	})
}

// walk returns n values, each a step further from the best, as far as the axis goes.
func (a *searchAxis) walk(step float64, n int) (values []float64) {
	last := a.best
	for i := range n {
		next := a.tidy(a.place(a.best)+float64(i+1)*step, math.Abs(step))
		switch {
		case next >= a.GetMaximum():
			next = a.GetMaximum()
		case a.GetExclusiveMinimum() && next <= a.GetMinimum():
			next = (a.GetMinimum() + last) / 2
		case next <= a.GetMinimum():
			next = a.GetMinimum()
		}
		// A ratio may lead to 0, which is not on the way, by underflow.
		if next != last && (next > 0 || a.GetMinimum() < 0 || !a.GetExclusiveMinimum() && !a.logarithmic) {
			values, last = append(values, next), next
		}
	}
	return values
}

// tidy returns the value at a place, or the one with the fewest digits that is not further from it than a tenth of a
// step.
func (a *searchAxis) tidy(place, step float64) float64 {
	value := a.value(place)
	if a.GetKind() == trellisv1.Kind_KIND_INTEGER {
		return math.Round(value)
	}
	for digits := range 16 {
		rounded, err := strconv.ParseFloat(strconv.FormatFloat(value, 'e', digits, 64), 64)
		if err == nil && math.Abs(a.place(rounded)-place) <= step/10 {
			return rounded
		}
	}
	return value
}

// suggest says which values the axis has, and why.
func (a *searchAxis) suggest() *trellisv1.AxisChoice {
	choice := &trellisv1.AxisChoice{Axis: a.GetName(), Best: a.bestValue, Total: a.total}
	if a.bestValue != nil {
		choice.Values = []*trellisv1.Value{a.bestValue}
	}
	switch {
	case len(a.tried) == 1 || len(a.categories) == 1:
		choice.Reason = trellisv1.AxisChoice_REASON_SINGLE_VALUE
	case a.compared < 2:
		choice.Reason = trellisv1.AxisChoice_REASON_SINGLE_ANSWER
	case a.total < negligible:
		choice.Reason = trellisv1.AxisChoice_REASON_NEGLIGIBLE
	case a.categories != nil:
		choice.Reason = trellisv1.AxisChoice_REASON_CONTENDERS
		// A grid either has the axis or does not.
		if a.bestValue != nil {
			choice.Values = slices.DeleteFunc(slices.Clone(a.kept[:min(a.count, len(a.kept))]),
				func(value *trellisv1.Value) bool { return value == nil })
		}
	case a.count == 1:
		choice.Reason = trellisv1.AxisChoice_REASON_OTHERS_EXPLAIN_MORE
	default:
		values := a.values()
		if choice.Values = a.written(values); len(values) == 1 {
			choice.Reason = trellisv1.AxisChoice_REASON_NEIGHBORS_TRIED
		} else {
			a.standing(choice)
		}
	}
	return choice
}

// written are numbers as values of the axis.
func (a *searchAxis) written(numbers []float64) []*trellisv1.Value {
	values := make([]*trellisv1.Value, len(numbers))
	for i, x := range numbers {
		values[i] = trellisv1.NumberValue(x)
		if a.GetKind() == trellisv1.Kind_KIND_INTEGER {
			values[i] = trellisv1.IntegerValue(int64(x))
		}
	}
	return values
}

// standing says where the best value stands among those that were tried.
func (a *searchAxis) standing(choice *trellisv1.AxisChoice) {
	switch {
	case a.logarithmic && a.best == 0:
		choice.Reason = trellisv1.AxisChoice_REASON_ZERO
	case a.best == a.GetMaximum():
		choice.Reason = trellisv1.AxisChoice_REASON_LARGEST_POSSIBLE
	case a.best == a.tried[len(a.tried)-1]:
		choice.Reason = trellisv1.AxisChoice_REASON_LARGEST_TRIED
	case a.best == a.GetMinimum():
		choice.Reason = trellisv1.AxisChoice_REASON_SMALLEST_POSSIBLE
	case a.best == a.tried[0]:
		choice.Reason = trellisv1.AxisChoice_REASON_SMALLEST_TRIED
	default:
		at, _ := slices.BinarySearch(a.tried, a.best)
		choice.Reason = trellisv1.AxisChoice_REASON_BETWEEN
		beside := a.written([]float64{a.tried[at-1], a.tried[at+1]})
		choice.Below, choice.Above = beside[0], beside[1]
	}
}
