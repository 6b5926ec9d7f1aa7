//go:build race

package command

// raced says that this binary was built with the race detector, which makes all slower.
const raced = true
