package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TensorBoard and MLflow, started on the exports of a study, say what its export as CSV does.
func TestExportsInTheirTools(t *testing.T) {
	const pythonVariable = "TRELLIS_EXPORT_PYTHON"
	python := os.Getenv(pythonVariable)
	if python == "" {
		t.Skipf("%s names no Python with TensorBoard and MLflow: run make check-export", pythonVariable)
	}
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
