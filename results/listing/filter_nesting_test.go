package listing

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// refusedWithin checks that a condition is refused, and within that time at one of five tries: what else the machine
// does holds up some of them, what is slow each.
func refusedWithin(t *testing.T, limit time.Duration, expression, want string) {
	t.Helper()
	took := time.Duration(math.MaxInt64)
	for tries := 0; tries < 5 && took > limit; tries++ {
		began := time.Now()
		_, err := NewFilter(expression, modelFields)
		took = min(took, time.Since(began))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", expression, err, want)
		}
	}
	if took > limit {
		t.Errorf("%s: refused after %v", expression, took)
	}
}

// What is nested deep is refused before its types are found, which takes long.
func TestNestingOfFiltersIsBounded(t *testing.T) {
	nested := func(before, within, after string, n int) string {
		return strings.Repeat(before, n) + within + strings.Repeat(after, n)
	}
	for expression, want := range map[string]string{
		nested("{1:", "1", "}", 200) + " == {}":          "at most 32 deep",
		nested("[", "1", "]", 200) + " == []":            "at most 32 deep",
		nested("true ? true : ", "true", "", 60):         "at most 32 deep",
		"index" + strings.Repeat(" + index", 60) + "==0": "at most 32 deep",
	} {
		refusedWithin(t, 300*time.Millisecond, expression, want)
	}
	for _, expression := range []string{
		nested("(", "index > 3", ")", 100), "index > 3" + strings.Repeat(" || index > 3", 60),
		"index in [" + strings.Repeat("1, ", 200) + "1]", nested("!(", "index > 3", ")", 20),
	} {
		if _, err := NewFilter(expression, modelFields); err != nil {
			t.Errorf("%s: %v", expression, err)
		}
	}
}
