//go:build !linux

package doctor

// listenerOn can't tell who listens on a port.
func listenerOn(string, uint64) (name string, pid int) { return "", 0 }
