package listing

import (
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
		refusedWithin(t, 5*time.Second, expression, want)
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
