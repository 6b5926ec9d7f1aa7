package dataset

import (
	"errors"
	"fmt"
)

var (
	// ErrUnknown means that there is no data set with the name.
	ErrUnknown = errors.New("unknown data set")
	// ErrNotDownloaded means that MNIST is not on this machine, and that nothing was downloaded.
	ErrNotDownloaded = errors.New("not downloaded")
	// ErrInvalid means that a file is missing, is damaged, or does not match its header or its digest.
	ErrInvalid = errors.New("invalid data set")
	// ErrTooLarge means that a data set is larger than the limit.
	ErrTooLarge = errors.New("data set too large")
	// ErrSplit means that a data set can't be divided as requested.
	ErrSplit = errors.New("both parts need at least one image and may not overlap")
)

// invalidError is an ErrInvalid that prints itself as what is wrong.
type invalidError struct{ cause error }

func (e *invalidError) Error() string { return e.cause.Error() }

func (e *invalidError) Unwrap() []error { return []error{ErrInvalid, e.cause} }

// Invalidf returns an ErrInvalid that prints itself as the text, for packages that read other formats.
func Invalidf(format string, args ...any) error { return invalidf(format, args...) }

// invalidf returns an ErrInvalid that prints itself as the text.
func invalidf(format string, args ...any) error { return &invalidError{fmt.Errorf(format, args...)} }
