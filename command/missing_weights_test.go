package command

import (
	"os"
	"strings"
	"testing"

	"trellis/command/exit"
)

// Where the store of artifacts takes nothing, a study completes, and everything that shows it says whose weights are
// missing and why.
func TestMissingWeights(t *testing.T) {
	skipRaced(t)
	t.Parallel()
	artifacts := t.TempDir() + "/artifacts"
	_, address := startCoordinator(t, "--data", t.TempDir(), "--artifacts", artifacts)
	// Nothing can be written into what is no folder, not even by root.
	if err := os.RemoveAll(artifacts); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(artifacts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	startWorker(t, address, "worker")
	spec := writeSpec(t, `
name: unsaved
data: mnist
model: conv-autoencoder
grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 1}
split: {train: 256, validation: 128}
`)
	const missing = "could not be saved: after "
	stdout, stderr, code := trellis(t, "submit", "--watch", "--coordinator", address, spec)
	if code != exit.OK {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	// A twin shares the results, and so what is missing of them.
	_, twin, code := trellis(t, "submit", "--name", "twin", "--coordinator", address, spec)
	if code != exit.OK {
		t.Fatalf("exit code %d: %s", code, twin)
	}
	const fresh = "anew, submit the study under another name with --fresh"
	show := func(command ...string) string {
		return mustTrellis(t, append(command, "--coordinator", address, "unsaved")...)
	}
	_, get, code := trellis(t, "model", "get", "--coordinator", address, "unsaved")
	if code != exit.Error {
		t.Errorf("exit code of model get: %d", code)
	}
	for what, test := range map[string]struct{ got, want string }{
		"the end of submit --watch": {stdout + stderr, "The weights of 1 trial " + missing},
		"its progress":              {stderr, "the weights of epoch 1 " + missing},
		"report":                    {show("report"), "the weights of 1 trial " + missing},
		"study":                     {show("study"), "the weights of 1 trial " + missing},
		"report -o json":            {show("report", "-o", "json"), `"weights_missing": 1`},
		"model get":                 {get, "the weights of trial 0 " + missing},
		"submit of a twin":          {twin, "the weights of 1 trial " + missing},
		"its advice":                {twin, fresh},
		"the advice of model get":   {get, fresh},
	} {
		if !strings.Contains(test.got, test.want) || strings.Contains(test.got, "rpc error") {
			t.Errorf("%s says\n%s\nwant %q, without gRPC's words", what, test.got, test.want)
		}
	}
}
