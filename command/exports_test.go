package command

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// toolsPython is a Python with other people's tools, which are to read what Trellis writes. Without it the test is skipped.
func toolsPython(t *testing.T) string {
	const variable = "TRELLIS_EXPORT_PYTHON"
	python := os.Getenv(variable)
	if python == "" {
		t.Skipf("%s names no Python with TensorBoard, MLflow and others: run make check-export", variable)
	}
	return python
}

// The library of the Standard Webhooks specification verifies what is sent to a hook, and refuses it when it is changed.
func TestWebHooksInTheirTools(t *testing.T) {
	python := toolsPython(t)
	folder := t.TempDir()
	received := make(chan struct{}, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		headers := map[string]string{}
		for name := range r.Header {
			headers[name] = r.Header.Get(name)
		}
		encoded, _ := json.Marshal(headers)
		body, err := io.ReadAll(r.Body)
		for name, content := range map[string][]byte{"headers": encoded, "body": body} {
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, name), content, 0o600)
			}
		}
		if err != nil {
			t.Error(err)
		}
		received <- struct{}{}
	}))
	defer receiver.Close()
	_, address := startCoordinator(t)
	secret := filepath.Join(folder, "secret")
	mustTrellis(t, "hooks", "create", "h", "--coordinator", address, "--url", receiver.URL, "--file", secret)
	mustTrellis(t, "hooks", "test", "h", "--coordinator", address)
	<-received
	output, err := exec.CommandContext(t.Context(), python, "testdata/webhooks.py", secret,
		filepath.Join(folder, "headers"), filepath.Join(folder, "body")).CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Error(err)
	}
}

// TensorBoard and MLflow, started on the exports of a study, say what its export as CSV does.
func TestExportsInTheirTools(t *testing.T) {
	python := toolsPython(t)
	coordinator, address := startCoordinator(t, "--data", t.TempDir())
	worker := startWorker(t, address, "worker", "--slots", "2")
	// One of the learning rates makes runs diverge.
	mustTrellis(t, "submit", "--watch", "--coordinator", address, writeSpec(t, `
name: export
model: synthetic
grid: {latent_dim: [3, 8], learning_rate: [1e-3, 10], max_epochs: [2, 3]}
seeds: [1, 2]
`))
	mustTrellis(t, "submit", "--watch", "--coordinator", address, writeSpec(t, `
name: model
data: mnist
model: conv-autoencoder
split: {train: 100, validation: 50}
grid: {latent_dim: 3, learning_rate: 1e-3, max_epochs: 1}
`))
	folder := t.TempDir()
	for _, format := range []string{"csv", "parquet", "tensorboard", "mlflow"} {
		mustTrellis(t, "export", "--coordinator", address, "export", "--format", format, "--folder",
			filepath.Join(folder, format))
	}
	mustTrellis(t, "export", "--coordinator", address, "model", "--format", "mlflow", "--folder",
		filepath.Join(folder, "model"))
	worker.stop(t)
	coordinator.stop(t)
	output, err := exec.CommandContext(t.Context(), python, "testdata/exports.py", folder).CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Error(err)
	}
}
