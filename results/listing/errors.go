package listing

import "errors"

// ErrInvalid means that a request is invalid: its order, filter or page token.
var ErrInvalid = errors.New("invalid")
