//go:build !race

package coordinator

// memoryFactor is how many times as much memory a process takes that the race detector watches.
const memoryFactor = 1
