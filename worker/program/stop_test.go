//go:build unix

package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/supervisor"
)

// workerFolder is the variable that makes this binary a worker that runs one program in a folder.
const workerFolder = "PROGRAM_TEST_WORKER"

// beWorker runs the program that lies in a folder. It never ends by itself.
func beWorker(folder string) {
	script, err := os.ReadFile(filepath.Join(folder, "script"))
	if err != nil {
		panic(err)
	}
	config := Config{
		Program: &trellisv1.Program{
			Command: []string{"sh", "-c", strings.NewReplacer("{", "{{", "}", "}}").Replace(string(script))},
		},
		Run: fmt.Sprint("run", os.Getppid()), Attempt: 7, MaxEpochs: 3, FirstEpoch: 1, LastEpoch: 3,
		Folder: filepath.Join(folder, "attempts"),
		Watch:  os.Getenv("PROGRAM_TEST_WATCH") != "", Resources: &trellisv1.Resources{Memory: 1 << 30},
	}
	_, err = Run(context.Background(), config, func(Report) error {
		return os.WriteFile(filepath.Join(folder, "reported"), nil, 0o600)
	})
	panic(err)
}

// Nothing outlives a worker that is killed: neither the program, nor daemons of it, nor its folder.
func TestNothingOutlivesTheWorker(t *testing.T) {
	for _, watch := range []string{"", "yes"} {
		t.Run("watch="+watch, func(t *testing.T) {
			folder := t.TempDir()
			attempts := filepath.Join(folder, "attempts")
			script := `trap '' TERM HUP
				(setsid sleep 1000 < /dev/null > /dev/null 2>&1 &)
				(setsid setsid sh -c 'trap "" TERM; while :; do sleep 1; done' &)
				` + say(`{"epoch": 1, "loss": 1}`) + sleeping
			if err := os.WriteFile(filepath.Join(folder, "script"), []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(attempts, 0o700); err != nil {
				t.Fatal(err)
			}
			worker := exec.Command("/proc/self/exe")
			marker := "MARKER=" + folder
			worker.Env = append(os.Environ(), workerFolder+"="+folder, "PROGRAM_TEST_WATCH="+watch, marker)
			worker.Stderr = os.Stderr
			if err := worker.Start(); err != nil {
				t.Fatal(err)
			}
			_ = await(t, func() bool {
				_, err := os.Stat(filepath.Join(folder, "reported"))
				return err == nil
			}, nil)
			// The worker, the shell and the two daemons.
			_ = await(t, func() bool { return len(marked(t, marker)) >= 4 }, nil)
			if err := worker.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = worker.Wait()
			_ = await(t, func() bool { return len(marked(t, marker)) == 0 }, nil)
			_ = await(t, func() bool {
				left, err := os.ReadDir(attempts)
				return err == nil && len(left) == 0
			}, nil)
			_ = await(t, func() bool {
				groups, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/trellis-run%d-7-*", os.Getpid()))
				return len(groups) == 0
			}, nil)
		})
	}
}

// A program that is being stopped ends before its grace does if there is no time for that.
func TestStopInAHurry(t *testing.T) {
	h := newHarness(t, `trap "" TERM; `+say(`{"epoch": 1, "loss": 1}`)+`while :; do sleep 0.05; done`)
	h.config.Program.Grace = durationpb.New(time.Hour)
	hurry := make(chan struct{})
	ctx, stop := context.WithCancel(h.ctx)
	h.ctx, h.config.Hurry = ctx, hurry
	h.take = func(Report) error {
		stop()
		time.AfterFunc(100*time.Millisecond, func() { close(hurry) })
		return nil
	}
	if _, err := h.run(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Of an attempt that was revoked, no checkpoint is packed to the end: it may have many GiB, and its slot is waited for.
func TestPackingEndsWithTheAttempt(t *testing.T) {
	for _, test := range []struct {
		name   string
		wanted bool
	}{{"reported", true}, {"at the end", false}} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, `mkdir c; truncate -s 8G c/weights; `+
				say(`{"epoch": 1, "loss": 1, "checkpoint": "c"}`)+sleeping)
			h.config.Program.Grace = durationpb.New(50 * time.Millisecond)
			ctx, revoke := context.WithCancel(h.ctx)
			h.ctx, h.config.Revoked = ctx, ctx.Done()
			h.config.WantCheckpoint = func(Report) bool {
				time.AfterFunc(100*time.Millisecond, revoke)
				return test.wanted
			}
			result, err := h.run()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if result.Checkpoint != nil || len(h.reports) > 0 && h.reports[0].Checkpoint != nil {
				t.Errorf("a checkpoint was packed: %v and %v", result, h.reports)
			}
			if left, _ := os.ReadDir(h.config.Checkpoints); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// If the supervisor is killed, so is the program, which may have done it: the attempt counts as failed, so that it is
// not tried for ever.
func TestSupervisorIsKilled(t *testing.T) {
	h := newHarness(t, say(`{"epoch": 1, "loss": 1}`)+`setsid sleep 1000 & echo $PPID; `+sleeping)
	if !grouped() {
		h.config.Program.Command[2] = strings.Replace(h.config.Program.GetCommand()[2], "setsid", "", 1)
	}
	h.take = func(Report) error {
		_ = await(t, func() bool { return h.output() != "" }, nil)
		pid, err := strconv.Atoi(strings.TrimSpace(h.output()))
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	failed := h.mustFail(Killed, "it was killed together with its parent process")
	if !errors.Is(failed, supervisor.ErrLost) || failed.Class() != trellisv1.FailureClass_FAILURE_CLASS_TRAINER {
		t.Errorf("got %v, which counts as %v", failed, failed.Class())
	}
}

// grouped reports whether this machine has a control group that can be killed.
func grouped() bool {
	found, _ := filepath.Glob("/sys/fs/cgroup/unified/cgroup.procs")
	return len(found) > 0 && os.Geteuid() == 0
}

// When the context is done, the program gets SIGTERM, and what it reports then still counts.
func TestStop(t *testing.T) {
	reason := errors.New("draining")
	ctx, cancel := context.WithCancelCause(t.Context())
	h := newHarness(t, `trap 'mkdir c; `+
		`echo "{\"epoch\": 1, \"checkpoint\": \"c\"}" >> $TRELLIS_REPORTS; exit 75' TERM; `+
		say(`{"epoch": 1, "loss": 1}`)+sleeping)
	h.ctx = ctx
	h.take = func(Report) error { cancel(reason); return nil }
	result, err := h.run()
	if !errors.Is(err, reason) {
		t.Errorf("got error %v", err)
	}
	if !slices.Equal(h.epochs(), []int{1, 1}) || h.reports[1].Checkpoint == nil || result.Epochs != 1 {
		t.Errorf("got %v, %+v", h.reports, result)
	}

	// Stopped before it began.
	h = newHarness(t, threeEpochs)
	h.ctx = ctx
	if _, err := h.run(); !errors.Is(err, reason) || len(h.reports) > 0 {
		t.Errorf("got error %v, reports %v", err, h.reports)
	}
}

// A program that finishes although it was told to stop has finished.
func TestStopAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := newHarness(t, `trap 'exit 0' TERM; `+threeEpochs+sleeping)
	h.ctx = ctx
	h.take = func(r Report) error {
		if r.Epoch == 3 {
			cancel()
		}
		return nil
	}
	h.mustRun()
}

// What the receiver of reports returns ends the program, and nothing more is reported.
func TestReceiverStops(t *testing.T) {
	enough := errors.New("enough")
	h := newHarness(t, threeEpochs+sleeping)
	h.take = func(r Report) error {
		if r.Epoch == 2 {
			return enough
		}
		return nil
	}
	result, err := h.run()
	if !errors.Is(err, enough) || !slices.Equal(h.epochs(), []int{1, 2}) || result.Epochs != 2 {
		t.Errorf("got %v, %+v, epochs %v", err, result, h.epochs())
	}
}

// Commands that know nothing of the last epoch are stopped after it, and have succeeded.
func TestMoreEpochsThanAskedFor(t *testing.T) {
	h := newHarness(t, threeEpochs+sleeping)
	h.config.LastEpoch, h.config.MaxEpochs = 2, 2
	result := h.mustRun()
	if !result.Beyond || result.Epochs != 2 || !slices.Equal(h.epochs(), []int{1, 2}) {
		t.Errorf("got %+v, epochs %v", result, h.epochs())
	}
}

func TestTimeIsUp(t *testing.T) {
	h := newHarness(t, say(`{"epoch": 1, "loss": 1}`)+sleeping)
	h.config.Resources = &trellisv1.Resources{Time: durationpb.New(100 * time.Millisecond)}
	failed := h.mustFail(OutOfTime, "more than 100ms, which is its resources.time")
	if failed.Limit != 100e6 || failed.Used < failed.Limit {
		t.Errorf("got %+v", failed)
	}
}

func TestOutOfMemory(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run("watch="+strconv.FormatBool(watch), func(t *testing.T) {
			// In a child, so that the shell survives the kernel's kill and waits for something else.
			h := newHarness(t, `(head -c 300000000 /dev/zero | tail -c 300000000 | sleep 1000) & `+
				say(`{"epoch": 1, "loss": 1}`)+sleeping)
			h.config.Resources = &trellisv1.Resources{Memory: 64 << 20}
			h.config.Watch = watch
			result, err := h.run()
			var failed *Error
			if !errors.As(err, &failed) || failed.Kind != OutOfMemory || failed.Limit != 64<<20 ||
				failed.Used < 63<<20 || !strings.Contains(err.Error(), "and its resources.memory is 64 MiB") {
				t.Errorf("got %v", err)
			}
			if watch && result.Enforced.Memory != supervisor.Watching {
				t.Errorf("limits are enforced by %+v", result.Enforced)
			}
			t.Log(err, result.Enforced)
		})
	}
}

// A supervisor that was killed while it was kept ready is replaced.
func TestReadySupervisorIsKilled(t *testing.T) {
	var spare supervisor.Spare
	defer spare.Close()
	process, err := spare.Take() // The next one is being started.
	if err != nil {
		t.Fatal(err)
	}
	_ = process.Close()
	_ = await(t, func() bool { return len(supervisors(t)) == 1 }, nil)
	if err := syscall.Kill(supervisors(t)[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = await(t, func() bool { return len(supervisors(t)) == 0 }, nil)
	h := newHarness(t, threeEpochs)
	h.config.Supervisors = &spare
	h.mustRun()
}

// supervisors are those that this process has started and that live.
func supervisors(t *testing.T) (pids []int) {
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(found) == 0 {
		t.Skip("no /proc here")
	}
	for _, path := range found {
		line, _ := os.ReadFile(path)
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if string(line) == supervisor.Argument0+"\x00" && strings.Contains(string(status),
			fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}
