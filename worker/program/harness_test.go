//go:build unix

package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
)

// patience is how long something may take that must happen. It ends tests that would hang, and decides nothing else.
const patience = time.Minute

// harness runs one program and keeps what it reports.
type harness struct {
	*testing.T
	config  Config
	ctx     context.Context //nolint:containedctx // The test's.
	reports []Report
	// take is called for each report, if it is set.
	take func(Report) error
	// marker is in the environment of every process of the program.
	marker string
}

// newHarness prepares a shell script that is asked for three epochs.
func newHarness(t *testing.T, script string) *harness {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"attempts", "checkpoints"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	output, err := CreateOutput(filepath.Join(folder, "output"), 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { output.Close() })
	h := &harness{T: t, ctx: t.Context(), marker: "MARKER=" + filepath.Base(filepath.Dir(folder)) + t.Name()}
	script = strings.NewReplacer("{", "{{", "}", "}}").Replace(script)
	name, value, _ := strings.Cut(h.marker, "=")
	h.config = Config{
		Program: &trellisv1.Program{
			Command:     []string{"sh", "-c", script},
			Environment: map[string]string{name: value},
			Grace:       durationpb.New(patience),
		},
		Parameters: map[string]*trellisv1.Value{},
		Study:      "study", Run: fmt.Sprint("run", os.Getpid()), Attempt: 7, Seed: 1,
		MaxEpochs: 3, FirstEpoch: 1, LastEpoch: 3,
		Objective:   &trellisv1.Objective{Metric: "loss"},
		Folder:      filepath.Join(folder, "attempts"),
		Checkpoints: filepath.Join(folder, "checkpoints"),
		Output:      output,
	}
	return h
}

// run runs the program. Afterwards no process of it may be left, and no folder.
func (h *harness) run() (Result, error) {
	h.Helper()
	result, err := Run(h.ctx, h.config, func(r Report) error {
		h.reports = append(h.reports, r)
		if h.take != nil {
			return h.take(r)
		}
		return nil
	})
	for _, left := range marked(h.T, h.marker) {
		h.Errorf("a process is left: %s", left)
		number, _, _ := strings.Cut(left, " ")
		if pid, err := strconv.Atoi(number); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	entries, readErr := os.ReadDir(h.config.Folder)
	if readErr != nil {
		h.Error(readErr)
	}
	for _, entry := range entries {
		h.Errorf("%s is left", entry.Name())
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/trellis-" + h.config.Run + "-*"); len(left) > 0 {
		h.Errorf("control groups are left: %v", left)
	}
	return result, err
}

// mustRun runs a program that is to succeed.
func (h *harness) mustRun() Result {
	h.Helper()
	result, err := h.run()
	if err != nil {
		h.Fatal(err)
	}
	return result
}

// mustFail runs a program that is to fail in a certain way, with a message that contains all of some texts.
func (h *harness) mustFail(kind Kind, texts ...string) *Error {
	h.Helper()
	_, err := h.run()
	var failed *Error
	if !errors.As(err, &failed) {
		h.Fatalf("got error %v, want one of kind %d", err, kind)
	}
	if failed.Kind != kind {
		h.Errorf("kind %d, want %d: %v", failed.Kind, kind, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			h.Errorf("error does not say %q: %v", text, err)
		}
	}
	return failed
}

// epochs are the epochs that were reported.
func (h *harness) epochs() []int {
	var epochs []int
	for _, r := range h.reports {
		epochs = append(epochs, r.Epoch)
	}
	return epochs
}

// output is all that the program wrote and was kept.
func (h *harness) output() string {
	h.Helper()
	chunk, err := h.config.Output.Read(0, 1<<20)
	if err != nil {
		h.Fatal(err)
	}
	return string(chunk.Data)
}

// marked returns the processes that have a variable in their environment.
func marked(t *testing.T, variable string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("no /proc here")
	}
	var found []string
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil {
			continue // No process, or it has ended.
		}
		if strings.Contains("\x00"+string(text), "\x00"+variable+"\x00") {
			name, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
			found = append(found, entry.Name()+" "+strings.TrimSpace(string(name)))
		}
	}
	return found
}
