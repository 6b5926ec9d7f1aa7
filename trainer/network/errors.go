package network

import "errors"

var (
	// ErrNetwork means that a list of layers is not a network that can be trained.
	ErrNetwork = errors.New("not a network")
	// ErrImage means that images are too small for a network's convolutions.
	ErrImage = errors.New("images are too small")
	// ErrNoPart means that a network has no encoder, no decoder or no classes to use by itself.
	ErrNoPart = errors.New("the network has no such part")
	// ErrSize means that there are not as many values as so many images or codes have.
	ErrSize = errors.New("values do not fill whole images or codes")
)
