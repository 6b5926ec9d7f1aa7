package command

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The tests of the Python client that need a coordinator, and the quick start that the README has.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	coordinator, address := startCoordinator(t, "--data", t.TempDir(), "--http", "127.0.0.1:0")
	link := coordinator.await(t, `^Web page: +(http://\S+)/ `)
	startWorker(t, address, "w1", "--programs", "--cache-dir", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tests := exec.CommandContext(ctx, "python3", "-B", "-m", "unittest", "discover", "-v", "-s", "tests", "-p", "test_client.py")
	tests.Dir = "../python"
	tests.Env = append(os.Environ(), "TRELLIS_TEST_HTTP="+link)
	output, err := tests.CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Error(err)
	}
}
