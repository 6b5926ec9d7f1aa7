//go:build unix

package program

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/python"
)

// newPython prepares a program in Python that has the package trellis.
func newPython(t *testing.T, text string) *harness {
	t.Helper()
	h := newHarness(t, "")
	h.config.Python = filepath.Join(t.TempDir(), "python")
	if err := os.CopyFS(h.config.Python, python.Files()); err != nil {
		t.Fatal(err)
	}
	text = strings.NewReplacer("{", "{{", "}", "}}").Replace(text)
	h.config.Program.Command = []string{"python3", "-B", "-c", text}
	return h
}

// The Python package and this one speak the same protocol.
func TestPython(t *testing.T) {
	h := newPython(t, `
import trellis
p = trellis.defaults(lr=9.0, optimizer={"name": "sgd", "momentum": 0.5})
assert dict(p) == {"lr": 1.0, "optimizer.name": "a 'b' $c", "amp": True, "layers": 3, "optimizer.momentum": 0.5}, p
assert type(p.lr) is float and type(p.layers) is int
assert (trellis.seed, trellis.max_epochs, trellis.resume_folder) == (1, 3, None)
assert (trellis.run.study, trellis.run.attempt) == ("study", 7) and trellis.run.id.startswith("run")
assert trellis.run.objective == ("loss", "minimize")
for epoch in trellis.epochs():
    if epoch == 2:
        continue  # It is reported without metrics.
    (trellis.checkpoint() / "weights").write_text(str(epoch))
    trellis.report(loss=0.1 + 0.2, up=float("inf"), nothing=float("nan"), **{"e/x": epoch})
`)
	h.config.Parameters = map[string]*trellisv1.Value{
		"lr":             {Kind: &trellisv1.Value_Number{Number: 1}},
		"optimizer.name": {Kind: &trellisv1.Value_Text{Text: "a 'b' $c"}},
		"amp":            {Kind: &trellisv1.Value_Boolean{Boolean: true}},
		"layers":         {Kind: &trellisv1.Value_Integer{Integer: 3}},
	}
	h.mustRun()
	if got := h.epochs(); !slices.Equal(got, []int{1, 2, 3}) {
		t.Fatalf("epochs %v", got)
	}
	first, second, third := h.reports[0], h.reports[1], h.reports[2]
	// A constant expression would be exact.
	tenth := 0.1
	if m := first.Metrics; m["loss"] != tenth+0.2 || m["up"] != math.Inf(1) || !math.IsNaN(m["nothing"]) || m["e/x"] != 1 {
		t.Errorf("metrics %v", m)
	}
	if len(second.Metrics) != 0 || second.Checkpoint != nil {
		t.Errorf("epoch 2: %v", second)
	}
	if first.Checkpoint == nil || third.Checkpoint == nil {
		t.Fatalf("checkpoints %v, %v", first.Checkpoint, third.Checkpoint)
	}

	again := newPython(t, `
import trellis
weights = (trellis.resume_folder / "weights").read_text()
for epoch in trellis.epochs():
    trellis.report(loss=epoch, weights=float(weights))
`)
	again.config.Resume, again.config.FirstEpoch, again.config.LastEpoch = third.Checkpoint.Path, 4, 5
	again.mustRun()
	if got := again.epochs(); !slices.Equal(got, []int{4, 5}) || again.reports[0].Metrics["weights"] != 3 {
		t.Errorf("resumed: epochs %v, %v", got, again.reports)
	}
}

// A program with checkpoints that is told to stop saves the epoch that it trains.
func TestPythonIsToldToStop(t *testing.T) {
	h := newPython(t, `
import time, trellis
for epoch in trellis.epochs():
    while epoch == 2 and not trellis.stopping:
        time.sleep(0.001)
    (trellis.checkpoint() / "weights").write_text(str(epoch))
    trellis.report(loss=epoch)
`)
	stop := errors.New("draining")
	ctx, cancel := context.WithCancelCause(t.Context())
	h.ctx = ctx
	h.take = func(r Report) error {
		if r.Epoch == 1 {
			cancel(stop)
		}
		return nil
	}
	result, err := h.run()
	if err != nil && !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if result.Epochs != 2 || h.reports[len(h.reports)-1].Checkpoint == nil {
		t.Errorf("epochs %d, last report %v", result.Epochs, h.reports[len(h.reports)-1])
	}
}

// What goes wrong in Python is said.
func TestPythonFails(t *testing.T) {
	newPython(t, "import trellis\nfor e in trellis.epochs(): trellis.report(loss='low')").
		mustFail(Exited, "code 1", "TypeError: metric 'loss' must be a number, not str 'low'")
	newPython(t, "import trellis\ntrellis.report(loss=1)").
		mustFail(Unfinished, "after epoch 1, but the last epoch is 3")
	newPython(t, "import trellis\nfor e in trellis.epochs(): trellis.report(accuracy=1)").
		mustFail(NoObjective, "never reported loss", "it reported accuracy")
}
