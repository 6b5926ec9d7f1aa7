package listing

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// TestMain keeps rapid from writing failures into testdata: it prints the seed that repeats them.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
