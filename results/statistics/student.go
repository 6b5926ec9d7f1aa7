package statistics

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Critical is the value that Student's t with n observations exceeds with the chance level: of what would be nought in
// the long run, a mean of n is larger than Critical(level, n) of its standard errors that often. Infinite below two
// observations.
func Critical(level float64, n int) float64 {
	if n < 2 {
		return math.Inf(1)
	}
	// The lower quantile, since close to 1 floating-point numbers lie further apart than close to 0.
	return -distuv.StudentsT{Sigma: 1, Nu: float64(n - 1)}.Quantile(level)
}

// criticals remembers critical values, by level and number of observations: to find one takes some microseconds.
type criticals map[[2]float64]float64

func (c criticals) of(level float64, n int) float64 {
	key := [2]float64{level, float64(n)}
	value, known := c[key]
	if !known {
		value = Critical(level, n)
		c[key] = value
	}
	return value
}
