package listing

import (
	"errors"
	"strings"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// A pattern that is computed for every trial, or that is large once compiled, is refused before the first trial.
func TestPatternsAreBounded(t *testing.T) {
	trial := &trellisv1.Trial{State: trellisv1.TrialState_TRIAL_STATE_SUCCEEDED}
	for expression, want := range map[string]string{
		`state.matches(state + "|\\pL{1000}\\pL{1000}\\pL{1000}")`: "must be a text in quotes",
		`matches(state, state)`:                               "must be a text in quotes",
		`state.matches("a" + "b")`:                            "must be a text in quotes",
		`state.matches("\\pL{1000}")`:                         "too complex",
		`state.matches("((a{10}){10}){10}")`:                  "too complex",
		`index > 3 && (state.matches("(x{900}y{900}){1,1}"))`: "too complex",
	} {
		began := time.Now()
		_, err := NewFilter(expression, modelFields)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", expression, err, want)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: refused after %v", expression, took)
		}
	}
	for expression, want := range map[string]bool{
		`state.matches("^succ")`: true, `matches(state, "e{2}")`: true,
		`state.matches("^(failed|[a-r]{1,20})$")`: false,
	} {
		filter, err := NewFilter(expression, modelFields)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got, err := filter(trial); got != want || err != nil {
			t.Errorf("%s: %v and %v, want %v", expression, got, err, want)
		}
	}
}
