package cli

import "io"

// Environment is what a command gets from whoever started it.
type Environment struct {
	// Results go to stdout, everything else to stderr.
	In       io.Reader
	Out, Err io.Writer
	// Version is that of this binary.
	Version string
}
