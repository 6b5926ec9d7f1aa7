package listing

import (
	"errors"
	"strings"
	"testing"
	"time"
)

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
		began := time.Now()
		if _, err := NewFilter(expression, modelFields); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", expression, err, want)
		}
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("%s: refused after %v", expression, took)
		}
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
