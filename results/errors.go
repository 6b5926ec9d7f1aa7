package results

import (
	"errors"
	"fmt"

	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/snapshotfile"
)

// Errors of the store. A write that is refused changes nothing, with the exception of ErrConflict.
var (
	// ErrNotFound means that there is no such study, run, trial, worker or token.
	ErrNotFound = errors.New("not found")
	// ErrExists means that a study already has the name, or a token the id.
	ErrExists = errors.New("already exists")
	// ErrNotOwner means that a submitter would change what another has made, or that a worker has another's name.
	ErrNotOwner = errors.New("belongs to another principal")
	// ErrInvalid means that a request is invalid in any state: a malformed row, page token, order or filter.
	ErrInvalid = listing.ErrInvalid
	// ErrIllegalMove means that the current state has no such transition, or that a condition is not met: a grant needs
	// a RUNNING study and a READY worker with a free slot.
	ErrIllegalMove = lifecycle.ErrIllegalMove
	// ErrStudyChanged means that the study has been extended since the command was made. A new command may be accepted.
	ErrStudyChanged = errors.New("the study has changed in the meantime")
	// ErrNoAnswer means that none of the study's trials has succeeded yet.
	ErrNoAnswer = errors.New("no trial has succeeded yet")
	// ErrInconclusive means that the results so far are not sufficient to answer the query.
	ErrInconclusive = errors.New("inconclusive")
	// ErrStale means that the attempt no longer holds the run, or never did. Nothing of it will ever be accepted.
	ErrStale = errors.New("stale attempt")
	// ErrConflict means that an attempt contradicts what an earlier one reported. This write ends the attempt, as a
	// failure of the class CONFLICT, so that nothing more of it can mix with what is recorded. The run is disputed.
	ErrConflict = errors.New("conflict with what is recorded")
	// ErrGap means that earlier reports are missing. Once they have arrived, this one will be accepted.
	ErrGap = errors.New("gap in the reports")
)

// Errors of Restore.
var (
	// ErrCorrupt means that the data is not a snapshot, is cut off, has changed since it was written, or has rows that
	// contradict one another.
	ErrCorrupt = snapshotfile.ErrCorrupt
	// ErrNewer means that a newer version of Trellis wrote the snapshot, in a format that this version does not know.
	ErrNewer = snapshotfile.ErrNewer
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
