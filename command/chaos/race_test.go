//go:build race

package chaos

// raced says that this test, and so the binary that it runs, was built with the race detector, which makes all slower.
const raced = true
