package statistics

import (
	"math"
)

// Observation is the objective of a configuration with one seed. The seed is identified by its place: seeds are
// numbered from 0 in the order in which they are looked at.
type Observation struct {
	Place     int
	Objective float64
}

// Sample has the observations of one configuration, at least one, by ascending place.
type Sample []Observation

// until returns the observations of the first seeds.
func (s Sample) until(seeds int) Sample {
	end := len(s)
	for end > 0 && s[end-1].Place >= seeds {
		end--
	}
	return s[:end]
}

// Finite says whether all objectives are finite numbers.
func (s Sample) Finite() bool {
	for _, o := range s {
		if math.IsNaN(o.Objective) || math.IsInf(o.Objective, 0) {
			return false
		}
	}
	return true
}

// Mean returns the mean of the objectives. It is NaN if one of them is not a finite number, or if there are none. The
// mean of equal objectives is exactly that objective.
func (s Sample) Mean() float64 {
	mean, _ := s.moments()
	return mean
}

// Known is what a sample says by itself: its mean, and whether it is finite.
type Known struct {
	Mean   float64
	Finite bool
	// places has a bit for each place of an observation, unless some are beyond: then it is 0.
	places uint64
}

// Know returns what a sample says by itself.
func Know(s Sample) Known {
	k := Known{Mean: s.Mean(), Finite: s.Finite()}
	if len(s) > 0 && s[0].Place >= 0 && s[len(s)-1].Place < 64 {
		for _, o := range s {
			k.places |= 1 << o.Place
		}
	}
	return k
}

// until returns the places of the first seeds.
func (k Known) until(seeds int) uint64 {
	if seeds >= 64 {
		return k.places
	}
	return k.places & (1<<seeds - 1)
}

func knowAll(samples []Sample) []Known {
	known := make([]Known, len(samples))
	for i, sample := range samples {
		known[i] = Know(sample)
	}
	return known
}

// Deviation returns the estimated standard deviation of the population from which the objectives were drawn. It is NaN
// for fewer than two observations.
func (s Sample) Deviation() float64 {
	_, deviation := s.moments()
	return deviation
}

func (s Sample) moments() (mean, deviation float64) {
	if len(s) == 0 || !s.Finite() {
		return math.NaN(), math.NaN()
	}
	var m moments
	for _, o := range s {
		m.add(o.Objective)
	}
	return m.mean, m.deviation()
}

// Interval is the range that contains an expected value.
type Interval struct{ Low, High float64 }

// Interval returns the confidence interval of the mean (Student's t, two-sided, for this configuration alone). Its
// bounds are NaN for fewer than two observations.
func (s Sample) Interval(confidence float64) Interval {
	mean, deviation := s.moments()
	half := Critical((1-confidence)/2, len(s)) * deviation / math.Sqrt(float64(len(s)))
	return Interval{mean - half, mean + half}
}

// moments accumulates mean and variance of numbers one by one, without loss of digits (B. P. Welford 1962, Note on a
// Method for Calculating Corrected Sums of Squares and Products).
type moments struct {
	n             int
	mean, squares float64
}

func (m *moments) add(x float64) {
	m.n++
	before := x - m.mean
	m.mean += before / float64(m.n)
	m.squares += before * (x - m.mean)
}

func (m *moments) deviation() float64 {
	if m.n < 2 {
		return math.NaN()
	}
	return math.Sqrt(m.squares / float64(m.n-1))
}
