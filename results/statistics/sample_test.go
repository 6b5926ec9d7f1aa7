package statistics

import (
	"math"
	"testing"
)

// sampleOf has objectives at places from 0 on.
func sampleOf(objectives ...float64) Sample {
	var s Sample
	for place, objective := range objectives {
		s = append(s, Observation{place, objective})
	}
	return s
}

func near(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-12*max(math.Abs(a), math.Abs(b)) }

// TestCritical compares with closed forms of Student's t with one and two degrees of freedom, and with printed tables.
func TestCritical(t *testing.T) {
	for _, level := range []float64{0.4, 0.05, 1e-3, 1e-6, 1e-13} {
		if got, want := Critical(level, 2), 1/math.Tan(math.Pi*level); !near(got, want) {
			t.Errorf("2 observations at %g: %v, want %v", level, got, want)
		}
		if got, want := Critical(level, 3), (1-2*level)/math.Sqrt(2*level*(1-level)); !near(got, want) {
			t.Errorf("3 observations at %g: %v, want %v", level, got, want)
		}
	}
	for _, test := range []struct {
		level float64
		n     int
		want  float64
	}{{0.05, 4, 2.353}, {0.025, 10, 2.262}, {0.0005, 31, 3.646}, {0.05, 1001, 1.646}} {
		if got := Critical(test.level, test.n); math.Abs(got-test.want) > 0.0005 {
			t.Errorf("%d observations at %g: %v, want %v", test.n, test.level, got, test.want)
		}
	}
	if !math.IsInf(Critical(0.05, 1), 1) {
		t.Error("a single observation has a critical value")
	}
}

func TestSample(t *testing.T) {
	s := sampleOf(2, 4, 4, 4, 5, 5, 7, 9)
	if s.Mean() != 5 || !near(s.Deviation(), math.Sqrt(32.0/7)) {
		t.Errorf("mean %v, deviation %v", s.Mean(), s.Deviation())
	}
	// From a table: t is 2.365 with 7 degrees of freedom.
	if got := s.Interval(0.95); math.Abs(got.Low-3.212) > 0.001 || math.Abs(got.High-6.788) > 0.001 {
		t.Errorf("interval %v", got)
	}
	if one := sampleOf(3); one.Mean() != 3 || !math.IsNaN(one.Deviation()) || !math.IsNaN(one.Interval(0.95).Low) {
		t.Errorf("of one observation: %v, %v, %v", one.Mean(), one.Deviation(), one.Interval(0.95))
	}
	for _, loss := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if bad := sampleOf(3, loss); bad.Finite() || !math.IsNaN(bad.Mean()) {
			t.Errorf("with %v: mean %v", loss, bad.Mean())
		}
	}
	// Digits that a sum of squares would lose, and equal numbers whose sum would be rounded.
	if got := sampleOf(1e9+1, 1e9+2, 1e9+3).Deviation(); got != 1 {
		t.Errorf("deviation %v, want 1", got)
	}
	if got := sampleOf(0.1, 0.1, 0.1); got.Mean() != 0.1 || got.Deviation() != 0 {
		t.Errorf("mean %v and deviation %v of equal objectives", got.Mean(), got.Deviation())
	}
}
