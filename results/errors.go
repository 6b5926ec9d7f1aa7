package results

import (
	"errors"

	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/snapshotfile"
)

// What the store refuses. A refused write changes nothing, with the one exception of ErrConflict.
var (
	// ErrNotFound: no study, run, trial or worker has that name.
	ErrNotFound = errors.New("not found")
	// ErrExists: a study has that name already.
	ErrExists = errors.New("already exists")
	// ErrInvalid: what was asked for makes no sense in any state: a malformed row, page token, order or filter.
	ErrInvalid = listing.ErrInvalid
	// ErrIllegalMove: a state machine has no such transition from the state that it is in, or what the move needs is
	// not there: a grant needs a RUNNING study and a READY worker with a free slot.
	ErrIllegalMove = lifecycle.ErrIllegalMove
	// ErrStudyChanged: the study has been extended since the command was made. Made anew, it may be accepted.
	ErrStudyChanged = errors.New("the study has changed meanwhile")
	// ErrNoAnswer: none of the study's trials has been answered yet.
	ErrNoAnswer = errors.New("no trial has succeeded yet")
	// ErrInconclusive: what has been answered so far does not say what was asked for.
	ErrInconclusive = errors.New("inconclusive")
	// ErrStale: the attempt does not hold the run any more, or never did. Nothing of it will ever be accepted.
	ErrStale = errors.New("stale attempt")
	// ErrConflict: an attempt contradicts what an earlier one reported. The attempt has been ended by it, as a failure
	// of the class CONFLICT, so that nothing more of it can mix with what is recorded.
	ErrConflict = errors.New("conflict with what is recorded")
	// ErrGap: reports are missing in between. Once they have come, this one will be accepted.
	ErrGap = errors.New("gap in the reports")
)

// What Restore refuses.
var (
	// ErrCorrupt: the data is no snapshot, or cut short, or has been changed since it was written, or its rows
	// contradict one another.
	ErrCorrupt = snapshotfile.ErrCorrupt
	// ErrNewer: a newer version of Trellis wrote the snapshot, in a format that this one does not know.
	ErrNewer = snapshotfile.ErrNewer
)
