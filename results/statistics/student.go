package statistics

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Critical returns the value that Student's t with n observations exceeds with the probability level. If the true mean
// is 0, a mean of n observations is larger than Critical(level, n) standard errors with this probability. It is
// infinite for fewer than two observations.
func Critical(level float64, n int) float64 {
	if n < 2 {
		return math.Inf(1)
	}
	// Use the lower quantile, because floating-point numbers are further apart close to 1 than close to 0.
	return -distuv.StudentsT{Sigma: 1, Nu: float64(n - 1)}.Quantile(level)
}

// criticals caches critical values by level and number of observations. Computing one takes some microseconds.
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
