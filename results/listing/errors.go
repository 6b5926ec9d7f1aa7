package listing

import "errors"

// ErrInvalid: what is asked for makes no sense: an order, a filter or a page token.
var ErrInvalid = errors.New("invalid")
