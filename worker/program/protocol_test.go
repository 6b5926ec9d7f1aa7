//go:build unix

package program

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// Reports of a command that can't be changed are read from its output.
func TestPattern(t *testing.T) {
	h := newHarness(t, `printf 'loading\repoch 1 step 3\n'; printf 'epoch 1 loss=0.5 acc=nan\r'
		echo 'epoch 2 loss=1e-3'
		echo "epoch 3 loss=inf acc=1" >&2`)
	h.config.Program.Reports = &trellisv1.ReportPattern{
		Pattern: `epoch (?P<epoch>\d+) loss=(?P<loss>\S+)(?: acc=(?P<acc>\S+))?`,
	}
	h.mustRun()
	if !slices.Equal(h.epochs(), []int{1, 2, 3}) || fmt.Sprint(h.reports[1].Metrics) != "map[loss:0.001]" {
		t.Errorf("got %v", h.reports)
	}
	h = newHarness(t, "echo; echo 'epoch 1 loss=0.5,'")
	h.config.Program.Reports = &trellisv1.ReportPattern{Pattern: `epoch (?P<epoch>\d+) loss=(?P<loss>\S+)`}
	h.mustFail(BadReport, `line 2 of its output: loss is "0.5,", which is not a number: epoch 1 loss=0.5,`)
	h.config.Program.Reports.Pattern = `loss=(?P<loss>\S+)`
	h.mustFail(BadCommand, "no group is named epoch")
}

// A checkpoint is packed as it was reported, and the next attempt finds it in a folder.
func TestCheckpointAndResume(t *testing.T) {
	h := newHarness(t, `for e in 1 2; do mkdir c$e; echo $e > c$e/weights; ln -s weights c$e/latest
		chmod +x c$e/weights
		echo "{\"epoch\": $e, \"loss\": 1, \"checkpoint\": \"c$e\"}" >> "$TRELLIS_REPORTS"; done; exit 75`)
	if result := h.mustRun(); !result.Returned || result.Checkpoint != nil {
		t.Errorf("got %+v", result)
	}
	last := h.reports[1].Checkpoint
	if last == nil || last.Epoch != 2 || last.Files != 2 || len(last.SHA256) != 64 {
		t.Fatalf("got %+v", last)
	}
	next := newHarness(t, `cat "$TRELLIS_RESUME"/latest; [ -x "$TRELLIS_RESUME"/weights ]; echo $?; `+
		say(`{"epoch": 3, "other": 1}`)+`ls`)
	next.config.FirstEpoch, next.config.Resume = 3, last.Path
	next.mustRun()
	if next.output() != "2\n0\n" {
		t.Errorf("got output %q", next.output())
	}
	next.config.FirstEpoch = 2
	next.mustFail(BadReport, "the first epoch is 2, not 3")

	if err := os.Truncate(last.Path, last.Size/2); err != nil {
		t.Fatal(err)
	}
	next.config.FirstEpoch = 3
	next.mustFail(BadResume, "unpack the checkpoint")
	next.config.Resume = ""
	next.mustRun()
}

// The last checkpoint is packed when the program ends, if it was not wanted before.
func TestUnwantedCheckpoint(t *testing.T) {
	h := newHarness(t, `for e in 1 2 3; do mkdir c$e; echo $e > c$e/weights
		echo "{\"epoch\": $e, \"loss\": 1, \"checkpoint\": \"$PWD/c$e\"}" >> "$TRELLIS_REPORTS"; done`)
	h.config.WantCheckpoint = func(r Report) bool { return r.Epoch == 2 }
	result := h.mustRun()
	if h.reports[0].Checkpoint != nil || h.reports[1].Checkpoint == nil || h.reports[2].Checkpoint != nil {
		t.Errorf("got %v", h.reports)
	}
	if result.Checkpoint == nil || result.Checkpoint.Epoch != 3 {
		t.Errorf("got %+v", result.Checkpoint)
	}
	packed, err := os.ReadDir(h.config.Checkpoints)
	if err != nil || len(packed) != 2 {
		t.Errorf("%v are packed (%v)", packed, err)
	}
}

// The program does not see the worker's secrets; it sees its own GPUs, its share of the cores, and Python's package.
func TestEnvironment(t *testing.T) {
	t.Setenv("TRELLIS_TOKEN", "secret")
	t.Setenv("OMP_NUM_THREADS", "")
	os.Unsetenv("OMP_NUM_THREADS")
	t.Setenv("PYTHONPATH", "/before")
	t.Setenv("INHERITED", "yes")
	h := newHarness(t, `
		echo "$TRELLIS_TOKEN|$CUDA_VISIBLE_DEVICES|$OMP_NUM_THREADS|$MKL_NUM_THREADS|$PYTHONPATH|$INHERITED"
		env | grep -c '^CUDA_VISIBLE_DEVICES='; [ "$PWD" = "$(pwd -P)" ]; echo $?; `+threeEpochs)
	h.config.Program.Environment["MKL_NUM_THREADS"] = "7"
	h.config.Program.Environment["TRELLIS_TOKEN"] = "mine"
	h.config.Resources = &trellisv1.Resources{Cpus: 1.5, Gpus: 2}
	h.config.GPUs = []string{"0", "3"}
	h.config.Python = "/python"
	h.mustRun()
	if want := "|0,3|2|7|/python:/before|yes\n1\n0\n"; h.output() != want {
		t.Errorf("got  %q\nwant %q", h.output(), want)
	}
	h.config.GPUs = nil
	h.mustRun()
	if !strings.Contains(h.output(), "\n||2|7|") {
		t.Errorf("got %q: no GPUs must hide all", h.output())
	}
}

// Output can be read while the program runs.
func TestLiveOutput(t *testing.T) {
	h := newHarness(t, `echo first; while ! [ -e go ]; do sleep 0.01; done; echo second; `+threeEpochs)
	read := make(chan string)
	go func() {
		defer close(read)
		for offset := int64(0); ; {
			changed := h.config.Output.Changed()
			chunk, err := h.config.Output.Read(offset, 100)
			if err != nil {
				t.Error(err)
				return
			}
			if offset = chunk.Offset + int64(len(chunk.Data)); len(chunk.Data) > 0 {
				read <- string(chunk.Data)
			} else if chunk.Ended {
				return
			} else {
				<-changed
			}
		}
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.mustRun()
	}()
	if got := <-read; got != "first\n" {
		t.Errorf("got %q", got)
	}
	found, err := filepath.Glob(filepath.Join(h.config.Folder, "*", "work"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.WriteFile(filepath.Join(found[0], "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "second\n" {
		t.Errorf("got %q", got)
	}
	if got, more := <-read; more {
		t.Errorf("got %q after the end", got)
	}
	<-done
}
