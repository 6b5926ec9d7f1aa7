//go:build !linux

package doctor

// listenerOn can't tell who listens on a port.
func listenerOn(string, uint64) (name string, arguments []string, pid int) { return "", nil, 0 }
