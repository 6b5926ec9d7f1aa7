package cli

import "io"

// Environment is what a command gets from whoever started it.
type Environment struct {
	In io.Reader
	// Out takes results.
	Out io.Writer
	// Err takes notices and progress, which --quiet drops.
	Err io.Writer
	// Log takes what --quiet does not drop: log lines and questions.
	Log io.Writer
	// Version is that of this binary.
	Version string
}
