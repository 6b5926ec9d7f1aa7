package importance

import (
	"math"
	"slices"
)

// Result says how the variance of the values is divided. All shares are between 0 and 1.
type Result struct {
	// Exact says that the points form a full grid, so the shares are those of its functional ANOVA.
	Exact bool
	// Main has the share that each axis explains alone. Total has the share of each axis including all its
	// interactions.
	Main, Total []float64
	// Pairs has what two axes explain together beyond what each of them explains alone, in the order of the axes.
	Pairs []Pair
	// Rest is the remaining share: interactions of three or more axes, and chance. Main, Pairs and Rest add up to 1.
	Rest float64
}

// Pair is the interaction of two axes. The first axis comes before the second.
type Pair struct {
	First, Second int
	Share         float64
}

// Analyze divides the variance of values among axes. Values must be finite. levels has, for each axis, the level of
// every point on it, counted from 0. Points must be distinct. If all values are equal, there is nothing to explain and
// all shares are 0.
//
// Its time and memory are proportional to the number of points times the number of pairs of axes. It ends early with the
// error of interrupted, which it asks in between.
func Analyze(levels [][]uint32, values []float64, interrupted func() error) (Result, error) {
	axes := make([]partition, len(levels))
	for i := range levels {
		axes[i] = newPartition(levels[i])
	}
	result := Result{
		Exact: full(axes, len(values)), Main: make([]float64, len(axes)),
		Total: make([]float64, len(axes)),
	}
	var pairs []partition
	for i := range axes {
		for j := i + 1; j < len(axes); j++ {
			result.Pairs = append(result.Pairs, Pair{First: i, Second: j})
			pairs = append(pairs, combine(axes[i], axes[j]))
		}
	}
	deviations, constant := centered(values)
	if constant {
		return result, nil
	}
	all := squares(deviations)
	residual := append([]float64(nil), deviations...)
	main, err := explain(axes, residual, tolerance*all, interrupted)
	if err != nil {
		return result, err
	}
	for i, gained := range main {
		result.Main[i] = gained / all
	}
	together, err := explain(pairs, residual, tolerance*all, interrupted)
	if err != nil {
		return result, err
	}
	for k, gained := range together {
		result.Pairs[k].Share = gained / all
	}
	result.Rest = squares(residual) / all
	for i, line := range lines(axes, len(values)) {
		result.Total[i] = result.total(i, line, deviations, all)
	}
	return result, nil
}

// full says whether n distinct points are a full grid. There can't be more points than that.
func full(axes []partition, n int) bool {
	size := 1
	for _, axis := range axes {
		// No overflow: a product within n, times at most n.
		if size *= axis.groups; size > n {
			return false
		}
	}
	return true
}

// centered returns the values minus their mean, in a unit chosen for them, and whether all values are equal. The unit
// is a power of two, so it rounds nothing, and with it the squares of the smallest and the largest values neither
// underflow nor overflow. A second pass removes the rounding error of the first.
func centered(values []float64) (deviations []float64, constant bool) {
	if slices.Min(values) == slices.Max(values) {
		return make([]float64, len(values)), true
	}
	deviations = slices.Clone(values)
	for range 2 {
		most := 0.0
		for _, deviation := range deviations {
			most = max(most, math.Abs(deviation))
		}
		_, exponent := math.Frexp(most)
		mean := 0.0
		for k := range deviations {
			deviations[k] = math.Ldexp(deviations[k], -exponent)
			mean += deviations[k] / float64(len(deviations))
		}
		for k := range deviations {
			deviations[k] -= mean
		}
	}
	return deviations, false
}

// squares returns the sum of the squares.
func squares(values []float64) float64 {
	sum := 0.0
	for _, value := range values {
		sum += value * value
	}
	return sum
}

// total returns the total share of an axis, whose lines are given: see the package's comment. all is the sum of the
// squares of the deviations.
func (r *Result) total(axis int, line partition, deviations []float64, all float64) float64 {
	least := r.Main[axis]
	for _, pair := range r.Pairs {
		if pair.First == axis || pair.Second == axis {
			least += pair.Share
		}
	}
	within, points := line.within(deviations)
	if points == 0 {
		return min(least, 1)
	}
	share := within / float64(points) / (all / float64(len(deviations)))
	return min(max(share, least), least+r.Rest, 1)
}
