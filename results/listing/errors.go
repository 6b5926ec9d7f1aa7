package listing

import "errors"

// ErrInvalid means that a request is invalid: its order, filter or page token.
var ErrInvalid = errors.New("invalid")

// ErrReplaced means that a page token is of a study that was deleted, and whose name another study has now.
var ErrReplaced = errors.New("was deleted and created again")
