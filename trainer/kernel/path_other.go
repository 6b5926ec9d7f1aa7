//go:build !amd64 || purego

package kernel

// vectorPaths is empty: this architecture has the portable path only.
func vectorPaths() []*path { return nil }
