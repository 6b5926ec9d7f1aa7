package results

import (
	"errors"
	"fmt"

	"trellis/results/lifecycle"
)

// refusal returns the error of a study that was not changed. verb says what was tried. Errors of moves that the study's
// state does not allow already name the study, and so do errors of missing or existing studies.
func refusal(verb, study string, err error) error {
	if move, ok := errors.AsType[*lifecycle.MoveError](err); ok {
		return move.Of(study)
	}
	for _, known := range []error{ErrNotFound, ErrExists} {
		if errors.Is(err, known) {
			return fmt.Errorf("study %q %w", study, known)
		}
	}
	return fmt.Errorf("%s study %q: %w", verb, study, err)
}
