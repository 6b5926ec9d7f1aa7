package listing

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/spelling"
)

// comparedState is a text that a filter compares the state with.
var comparedState = regexp.MustCompile(`\bstate\s*[=!]=\s*['"]([^'"]*)['"]`)

// checkStates refuses a filter that compares the state with what is none: it would be met by no trial, or by all.
func checkStates(expression string) error {
	for _, match := range comparedState.FindAllStringSubmatch(expression, -1) {
		if states := trialStates(); !slices.Contains(states, match[1]) {
			return &FieldError{fieldFilter, fmt.Errorf("%s: %w", spelling.Unknown("state", match[1], states), ErrInvalid)}
		}
	}
	return nil
}

// trialStates are the names that a trial's state may have.
func trialStates() []string {
	var names []string
	for _, number := range slices.Sorted(maps.Keys(trellisv1.TrialState_name)) {
		if number != 0 {
			names = append(names, lifecycle.Name(trellisv1.TrialState(number)))
		}
	}
	return names
}
