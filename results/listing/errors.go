package listing

import "errors"

// ErrInvalid means that a request is invalid: its order, filter or page token.
var ErrInvalid = errors.New("invalid")

// FieldError is an ErrInvalid that one field of the request is to blame for.
type FieldError struct {
	// Field is filter or order_by.
	Field string
	err   error
}

// Error is what is wrong, after the field's name.
func (e *FieldError) Error() string { return e.Field + ": " + e.err.Error() }

// Unwrap implements errors.
func (e *FieldError) Unwrap() error { return e.err }

const (
	fieldFilter  = "filter"
	fieldOrderBy = "order_by"
)

// ErrReplaced means that a page token is of a study that was deleted, and whose name another study has now.
var ErrReplaced = errors.New("was deleted and created again")
