package dataset

import "errors"

var (
	// ErrUnknown means that there is no data set of that name.
	ErrUnknown = errors.New("unknown data set")
	// ErrInvalid means that a file is missing, damaged, or not what its header or its digest says.
	ErrInvalid = errors.New("invalid data set")
	// ErrTooLarge means that a data set is larger than the cap.
	ErrTooLarge = errors.New("data set too large")
	// ErrSplit means that a data set can't be divided as asked.
	ErrSplit = errors.New("both parts need at least one image and may not overlap")
)
