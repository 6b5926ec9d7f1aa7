package replication

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childDir tells the test binary to be a node of that data directory until it is killed.
const childDir = "REPLICATION_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		runChild(dir)
		return
	}
	goleak.VerifyTestMain(m,
		// Waits for raft, whose goroutine has ended because it could not write the term: until the process ends.
		goleak.IgnoreAnyFunction("trellis/coordinator/replication.(*Log).form"),
		// What makes watchTransfers necessary: a transfer that waits for a replication that has ended
		// (hashicorp/raft#696).
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*Raft).leadershipTransfer"),
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*Raft).leaderLoop.func2"))
}
