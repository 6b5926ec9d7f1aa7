package results

import (
	"errors"
	"fmt"

	"trellis/results/lifecycle"
)

// refusal is why a study was not changed: verb says what was tried. A move that its state does not allow says which study it is by
// itself, as does one that is missing or there already.
func refusal(verb, study string, err error) error {
	if move, ok := errors.AsType[*lifecycle.MoveError](err); ok {
		return move.Of(study)
	}
	for _, known := range []error{ErrNotFound, ErrExists} {
		if errors.Is(err, known) {
			return fmt.Errorf("study %q %w", study, known)
		}
	}
	return fmt.Errorf("%s study %s: %w", verb, study, err)
}
