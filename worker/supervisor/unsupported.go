//go:build !unix

package supervisor

import "os"

// Process is nothing on this system.
type Process struct{}

// Spawn refuses.
func Spawn() (*Process, error) { return nil, ErrUnsupported }

// Start refuses.
func (*Process) Start(Command) error { return ErrUnsupported }

// PID is 0.
func (*Process) PID() int { return 0 }

// Output is nil.
func (*Process) Output() *os.File { return nil }

// Terminate does nothing.
func (*Process) Terminate() {}

// Kill does nothing.
func (*Process) Kill() {}

// Wait refuses.
func (*Process) Wait() (Exit, error) { return Exit{}, ErrUnsupported }

// Close does nothing.
func (*Process) Close() error { return nil }

// Abandon does nothing.
func (*Process) Abandon() {}

// Main refuses.
func Main() int { return 1 }
