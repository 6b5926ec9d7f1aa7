//go:build unix

package supervisor

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is a supervisor where the tests start one.
func TestMain(m *testing.M) {
	if Supervising() {
		os.Exit(Main())
	}
	goleak.VerifyTestMain(m)
}
