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
	// total is the share of the variance that the axis explains with all its interactions.
	total float64
	// logarithmic says that values are spaced by ratios. 0 has no place among them: it stands for itself.
	logarithmic bool
	// count is how many values the suggested axis may have.
	count int
}

// places are those, among a survey's axes, of the axes that are searched: the common ones of a grid but for max_epochs,
// and those that only the study's model has.
func (s *survey) places() (places []int) {
	for place := range s.axes {
		own := place >= len(commonAxes)
		if own || place != grid.MaxEpochs && grid.CommonAxes[place].InGrid() {
			places = append(places, place)
		}
	}
	return places
}

// boundsOf returns the name and bounds of an axis. One that only the study's model has is bounded by what was tried if
// the model is not known.
func (s *survey) boundsOf(at int, models grid.Models) *trellisv1.ModelAxis {
	name, tried := s.axes[at].name, s.tried[at]
	if axis := grid.Axis(models.Find(s.study.GetSpec().GetModel()), name); axis != nil {
		return axis
	}
	return &trellisv1.ModelAxis{Name: name, Minimum: tried[0], Maximum: tried[len(tried)-1]}
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
// to its two neighbors evenly. On an edge, half of them go beyond it, at the old spacing.
func (a *searchAxis) values() []float64 {
	at, _ := slices.BinarySearch(a.tried, a.best)
	if a.logarithmic && a.best == 0 {
		return a.aboveZero()
	}
	first, last := at == 0, at == len(a.tried)-1
	below, above := (a.count-1)/2, a.count/2
	if first {
		below, above = above, below
	}
	values := []float64{a.best}
	if first {
		values = append(values, a.walk(-a.step(at+1), below)...)
	} else {
		values = append(values, a.divide(-a.step(at-1), below)...)
	}
	if last {
		values = append(values, a.walk(a.step(at-1), above)...)
	} else {
		values = append(values, a.divide(a.step(at+1), above)...)
	}
	slices.Sort(values)
	return values
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
	if a.GetInteger() {
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
	choice := &trellisv1.AxisChoice{Axis: a.GetName(), Best: a.best, Total: a.total, Values: []float64{a.best}}
	switch {
	case len(a.tried) == 1:
		choice.Reason = trellisv1.AxisChoice_REASON_SINGLE_VALUE
	case a.compared < 2:
		choice.Reason = trellisv1.AxisChoice_REASON_SINGLE_ANSWER
	case a.total < negligible:
		choice.Reason = trellisv1.AxisChoice_REASON_NEGLIGIBLE
	case a.count == 1:
		choice.Reason = trellisv1.AxisChoice_REASON_OTHERS_EXPLAIN_MORE
	default:
		if choice.Values = a.values(); len(choice.Values) == 1 {
			choice.Reason = trellisv1.AxisChoice_REASON_NEIGHBORS_TRIED
		} else {
			a.standing(choice)
		}
	}
	return choice
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
		choice.Below, choice.Above = a.tried[at-1], a.tried[at+1]
	}
}
