package command

import (
	"strings"
	"testing"

	"trellis/command/exit"
)

// Where every trial has diverged there is no best: every format refuses with the same words, nothing is ranked, and a
// watch names no best trial.
func TestDivergedHasNoBest(t *testing.T) {
	skipRaced(t)
	t.Parallel()
	_, address := startCoordinator(t)
	startWorker(t, address, "worker")
	for name, more := range map[string]string{"one-seed": "", "two-seeds": "seeds: [1, 2]\n"} {
		spec := writeSpec(t, "name: "+name+"\ndata: mnist\nmodel: variational-autoencoder\n"+
			"grid: {latent_dim: 4, learning_rate: 1000, max_epochs: 1}\nsplit: {train: 256, validation: 128}\nbatch_size: 16\n"+more)
		if _, stderr, code := trellis(t, "submit", "--watch", "--coordinator", address, spec); code != exit.Incomplete ||
			!strings.Contains(stderr, "there is no best trial: ") {
			t.Errorf("submit --watch exits with %d and says\n%s", code, stderr)
		}
		for _, format := range []string{"table", "json", "yaml", "csv"} {
			stdout, stderr, code := trellis(t, "best", "--coordinator", address, name, "-o", format)
			const why = " diverged, so try lower learning rates\n"
			if code != exit.Error || stdout != "" || !strings.HasPrefix(stderr, `trellis: study "`+name+
				`" has no best trial: `) || !strings.HasSuffix(stderr, why) {
				t.Errorf("best -o %s exits with %d and says\n%s%s", format, code, stdout, stderr)
			}
		}
		watch, _, _ := trellis(t, "watch", "--coordinator", address, name, "-o", "json")
		for what, stdout := range map[string]string{
			"table":  mustTrellis(t, "configurations", "--coordinator", address, name),
			"json":   mustTrellis(t, "configurations", "--coordinator", address, name, "-o", "json"),
			"report": mustTrellis(t, "report", "--coordinator", address, name, "-o", "json"),
			"watch":  watch,
		} {
			for _, never := range map[string][]string{
				"table": {"RANK", "NaN"}, "json": {`"rank"`}, "report": {`"best"`}, "watch": {`"best"`},
			}[what] {
				if strings.Contains(stdout, never) {
					t.Errorf("%s says %s:\n%s", what, never, stdout)
				}
			}
		}
	}
}
