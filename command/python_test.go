package command

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// testPython runs a file of the tests of the Python package, with variables that name a coordinator.
func testPython(t *testing.T, file string, variables ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tests := exec.CommandContext(ctx, "python3", "-B", "-m", "unittest", "discover", "-v", "-s", "tests", "-p", file)
	tests.Dir = "../python"
	tests.Env = append(os.Environ(), variables...)
	output, err := tests.CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Error(err)
	}
}

// The tests of the Python client that need a coordinator, and the quick start that the README has.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	coordinator, address := startCoordinator(t, "--data", t.TempDir(), "--http", "127.0.0.1:0")
	link := coordinator.await(t, `^Web page: +(http://\S+)/ `)
	startWorker(t, address, "w1", "--programs", "--cache-dir", t.TempDir())
	testPython(t, "test_client.py", "TRELLIS_TEST_HTTP="+link)
}

// The Python client over TLS, with tokens and certificates.
func TestPythonClientWithTokens(t *testing.T) {
	t.Parallel()
	_, link, folder := startSecured(t, "vera", "sam")
	testPython(t, "test_secured.py", "TRELLIS_TEST_HTTPS="+link, "TRELLIS_TEST_FOLDER="+folder)
}

// startSecured starts a coordinator with TLS and a page. In the folder are the authority's certificate and the tokens
// of a viewer and a submitter of these names, by role.
func startSecured(t *testing.T, viewer, submitter string) (coordinator *process, link, folder string) {
	t.Helper()
	folder = t.TempDir()
	mustTrellis(t, "certificates", "authority", "--folder", folder)
	mustTrellis(t, "certificates", "node", "127.0.0.1", "--folder", folder)
	authority := filepath.Join(folder, "authority.crt")
	coordinator, address := startCoordinator(t, "--in-memory", "--http", "127.0.0.1:0", "--authority", authority,
		"--certificate", filepath.Join(folder, "node-127.0.0.1.crt"))
	for role, name := range map[string]string{"viewer": viewer, "submitter": submitter} {
		mustTrellis(t, "tokens", "create", "--coordinator", address, "--authority", authority,
			"--certificate", filepath.Join(folder, "client-admin.crt"), "--role", role, "--name", name,
			"--file", filepath.Join(folder, role+".token"))
	}
	return coordinator, coordinator.await(t, `^Web page: +(https://\S+)/ `), folder
}
