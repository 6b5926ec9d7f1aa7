package command

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/fake"
	"trellis/command/node"
	trellisv1 "trellis/proto/trellis/v1"
)

// longStudy takes a few seconds on one slot: time enough to be disturbed.
const longStudy = `
name: long
model: synthetic
grid:
  latent_dim: [4, 8, 16]
  learning_rate: [1e-3, 1e-2]
  max_epochs: [20, 40]
early_stopping: {patience: 10, min_delta: 1e-5}
synthetic: {epoch_time: 5ms}
`

// undisturbed returns what trials -o json writes of a spec that nothing has happened to.
func undisturbed(t *testing.T, spec string) string {
	t.Helper()
	return train(t, spec, 2, "-o", "json")
}

// awaitEpochs waits until a study has more epochs than that.
func awaitEpochs(t *testing.T, c *client.Client, study string, epochs uint64) {
	t.Helper()
	watchUntil(t, c, study, func(response *trellisv1.WatchStudyResponse) bool {
		return response.GetStudy().GetProgress().GetEpochs() > epochs
	})
}

// A coordinator that is killed in the middle of a study goes on where it was: the study ends with the same bytes as one
// that was left alone, and nobody has trained anything twice.
func TestKilledCoordinator(t *testing.T) {
	t.Parallel()
	spec := writeSpec(t, longStudy)
	data := t.TempDir()
	coordinator, address := startCoordinator(t, "--data", data)
	mustTrellis(t, "submit", "--coordinator", address, spec)
	watch, _ := start(t, `study long is running`, "watch", "--coordinator", address, "long")
	startWorker(t, address, "first")
	startWorker(t, address, "second")
	for _, epochs := range []uint64{30, 90} {
		awaitEpochs(t, connect(t, address), "long", epochs)
		coordinator.signal(t, syscall.SIGKILL)
		coordinator, _ = start(t, `^Studies are in \S+ \(existing\)\.$`, "coordinator", "--listen", address,
			"--data", data)
	}
	if code := watch.wait(t); code != exit.OK {
		t.Errorf("watch: exit code %d: %s", code, watch.said())
	}
	if notices := strings.Count(watch.said(), "no coordinator at"); notices > 2 {
		t.Errorf("after two restarts, watch has said %d times that there is no coordinator:\n%s", notices, watch.said())
	}
	if got, want := mustTrellis(t, "trials", "--coordinator", address, "long", "-o", "json"),
		undisturbed(t, spec); got != want {
		t.Errorf("undisturbed:\n%s\nwith a coordinator that was killed twice:\n%s", want, got)
	}
	checkNoFailures(t, connect(t, address), "long")
}

// checkNoFailures checks that no run of a study has lost an attempt.
func checkNoFailures(t *testing.T, c *client.Client, study string) {
	t.Helper()
	err := c.Watch(t.Context(), &trellisv1.WatchStudyRequest{Study: study},
		func(response *trellisv1.WatchStudyResponse) {
			for _, run := range response.GetRuns() {
				if len(run.GetFailures()) > 0 {
					t.Errorf("an attempt was lost: %v", run)
				}
			}
		})
	if err != nil {
		t.Error(err)
	}
}

// The default data directory is trellis in the user's data folder.
func TestDefaultDataDirectoryIsUsed(t *testing.T) {
	t.Parallel()
	coordinator, _ := start(t, `^Studies are in (\S+) \(new\)\.$`, "coordinator", "--listen", "127.0.0.1:0")
	var home string
	for _, variable := range coordinator.command.Env {
		if value, ok := strings.CutPrefix(variable, node.DataHomeVariable+"="); ok {
			home = value
		}
	}
	entries, err := os.ReadDir(filepath.Join(home, "trellis"))
	if err != nil || len(entries) == 0 {
		t.Errorf("%s/trellis has %v, %v", home, entries, err)
	}
	coordinator.stop(t)
}

// A second coordinator on the same directory is told so, and does not disturb the first.
func TestLockedDataDirectory(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	_, address := startCoordinator(t, "--data", data)
	_, stderr, code := trellis(t, "coordinator", "--listen", "127.0.0.1:0", "--data", data, "--log-level", "error")
	if code != exit.Error || !strings.Contains(stderr, "is in use") || !strings.Contains(stderr, data) ||
		strings.Contains(stderr, "listens on") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	mustTrellis(t, "studies", "--coordinator", address)
}

// A node that is told to join although it is in a cluster already just goes on.
func TestJoinOfAMember(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	coordinator, address := startCoordinator(t, "--data", data)
	mustTrellis(t, "submit", "--coordinator", address, writeSpec(t, endlessStudy))
	coordinator.stop(t)
	again, _ := start(t, `this node is already in a cluster`, "coordinator", "--listen", address, "--data", data,
		"--join", fake.FreeAddress(t))
	again.await(t, `^The coordinator listens on`)
	if states := mustTrellis(t, "studies", "--coordinator", address, "-o", "csv"); !strings.Contains(states,
		"endless,running,") {
		t.Errorf("studies are\n%s", states)
	}
}

// Ctrl-C and a kill interrupt trellis run --data; the same command goes on, and at last gives the bytes of a run that
// nothing has interrupted. Run once more, it shows them again.
func TestRunGoesOn(t *testing.T) {
	t.Parallel()
	// Slow enough to be interrupted twice, also where the test stalls in between.
	spec := writeSpec(t, strings.Replace(longStudy, "epoch_time: 5ms", "epoch_time: 50ms", 1))
	data := filepath.Join(t.TempDir(), "studies")
	command := []string{"run", "--slots", "2", "--data", data, "-o", "json", spec}
	running, _ := start(t, `^trial succeeded`, command...)
	if code := running.signal(t, os.Interrupt); code != exit.Interrupted ||
		!strings.Contains(running.said(), "To continue, run the same command again: the results so far are in "+data) {
		t.Errorf("exit code %d: %s", code, running.said())
	}
	// The workers have handed their runs back: nobody has to wait for a lease.
	coordinator, address := startCoordinator(t, "--data", data)
	watchUntil(t, connect(t, address), "long", func(response *trellisv1.WatchStudyResponse) bool {
		progress := response.GetStudy().GetProgress()
		if progress.GetRunsRunning() > 0 || progress.GetEpochs() == 0 || progress.GetEpochsLeft() == 0 {
			t.Errorf("after Ctrl-C, the study has %v", progress)
		}
		return true
	})
	coordinator.stop(t)
	running, _ = start(t, `^Study long is already in \S+ with the same spec and continues: `, command...)
	running.await(t, `^trial succeeded`)
	running.signal(t, syscall.SIGKILL)
	want := mustTrellis(t, "run", "--slots", "6", "-o", "json", spec)
	for _, state := range []string{"continues", "has ended"} {
		got, stderr, code := trellis(t, command...)
		if code != exit.OK || !strings.Contains(stderr, state) || got != want {
			t.Errorf("exit code %d, want %q said and\n%s\ngot\n%s\n%s", code, state, want, got, stderr)
		}
	}
	// Another spec under that name is refused; another study beside it is not.
	_, stderr, code := trellis(t, "run", "--data", data,
		writeSpec(t, strings.Replace(longStudy, "[4, 8, 16]", "[4, 8]", 1)))
	if code != exit.AlreadyExists || !strings.Contains(stderr, "has another spec: it differs in grid") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	mustTrellis(t, "run", "--data", data, writeSpec(t, strings.Replace(longStudy, "name: long", "name: other", 1)))
}

// Ctrl-C gives programs their grace period. Who waits for it is told so.
func TestInterruptionWaitsForPrograms(t *testing.T) {
	t.Parallel()
	running, _ := start(t, `^run .*epoch 1/2`, "run", writeSpec(t, `name: slow
program:
  command: [sh, -c, 'trap "" TERM; echo "{{\"epoch\": 1, \"acc\": 1}}" >> "$TRELLIS_REPORTS";
    while :; do sleep 1; done']
  grace: 2s
objective: {metric: acc, direction: maximize}
grid: {lr: 1, max_epochs: 2}
`))
	if code := running.signal(t, os.Interrupt); code != exit.Interrupted ||
		strings.Count(running.said(), "Waiting for programs to end: they have their grace period") != 1 {
		t.Errorf("exit code %d: %s", code, running.said())
	}
}
