//go:build unix

package program

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"trellis/worker/supervisor"
)

// TestMain is a supervisor where the tests start one.
func TestMain(m *testing.M) {
	if supervisor.Supervising() {
		os.Exit(supervisor.Main())
	}
	if folder := os.Getenv(workerFolder); folder != "" {
		beWorker(folder)
	}
	goleak.VerifyTestMain(m)
}
