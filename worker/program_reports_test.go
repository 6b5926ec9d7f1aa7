package worker

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/worker/program"
)

// A checkpoint that can't be unpacked costs its epochs, and is no failure of the run: it starts from epoch 1.
func TestProgramsStartAgainWithoutTheirCheckpoint(t *testing.T) {
	metrics, err := newMetrics(nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	w := &Worker{events: newEvents(), metrics: metrics}
	a := newAttempt(t.Context(), &trellisv1.Assignment{Epochs: 2, Checkpoint: &trellisv1.Checkpoint{Epoch: 2}}, position{})
	folder := t.TempDir()
	config := program.Config{
		Program: &trellisv1.Program{Command: []string{
			"sh", "-c",
			`echo started; printf '{{"epoch": 1, "m": 1}}\n{{"epoch": 2}}\n{{"epoch": 3, "m": 3}}\n' >> "$TRELLIS_REPORTS"`,
		}},
		Run: "run", Attempt: 1, MaxEpochs: 3, FirstEpoch: 3, LastEpoch: 3, Folder: folder,
		Resume: filepath.Join(folder, "resume.tar.zst"),
	}
	if err := os.WriteFile(config.Resume, []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if config.Output, err = program.CreateOutput(filepath.Join(folder, "output"), 1<<10); err != nil {
		t.Fatal(err)
	}
	defer config.Output.Close()
	var text bytes.Buffer
	reports := &programReports{worker: w, attempt: a, checkpoints: &programCheckpoints{worker: w, attempt: a}}
	result, err := reports.run(context.Background(), config, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil || result.Epochs != 3 || !strings.Contains(text.String(), "starting at epoch 1") {
		t.Errorf("got %+v, %v: %s", result, err, text.String())
	}
	if chunk, err := config.Output.Read(0, 100); err != nil || string(chunk.Data) != "started\n" || !chunk.Ended {
		t.Errorf("its output is %q, %v", chunk.Data, err)
	}
	// The epoch without a metric is one too.
	var got []trainer.Report
	for _, event := range w.events.take() {
		got = append(got, event.report)
	}
	if len(got) != 3 || got[1].Epoch != 2 || got[2].Epoch != 3 || got[2].Metrics["m"] != 3 {
		t.Fatalf("got %+v", got)
	}
	packed := a.packProgram(got)
	if series := packed.GetMetrics()["m"]; packed.GetEpochs() != 3 || len(series.GetMissing()) != 1 ||
		series.GetMissing()[0] != 1 {
		t.Errorf("packed %v", packed)
	}
}
