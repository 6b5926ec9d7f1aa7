//go:build !linux && !darwin

package dataset

import "errors"

// freeBytes is not known here.
var freeBytes = func(string) (uint64, error) { return 0, errors.ErrUnsupported }
