//go:build race

package figure

// raced says whether the race detector watches.
const raced = true
