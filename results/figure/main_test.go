package figure

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs only what draws at once with the race detector: all else is the work of one goroutine, and takes ten
// times as long.
func TestMain(m *testing.M) {
	if raced {
		if err := flag.Set("test.run", "AtOnce"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}
