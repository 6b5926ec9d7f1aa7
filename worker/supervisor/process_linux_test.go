package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// testName is in the names of control groups. Other tests may run at the same time.
var testName = fmt.Sprint("test", os.Getpid())

// run runs a shell script to its end.
func run(t *testing.T, spawn func() (*Process, error), command Command, script string) (string, Exit) {
	t.Helper()
	process, err := spawn()
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	command.Path, command.Arguments, command.Folder = "/bin/sh", []string{"sh", "-c", script}, t.TempDir()
	command.Environment = []string{"PATH=" + os.Getenv("PATH")}
	command.Name = testName
	if err := process.Start(command); err != nil {
		t.Fatal(err)
	}
	output, err := io.ReadAll(process.Output())
	if err != nil {
		t.Fatal(err)
	}
	exit, err := process.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return string(output), exit
}

func TestExit(t *testing.T) {
	output, exit := run(t, Spawn, Command{}, "echo hello; exit 7")
	if output != "hello\n" || exit.Code != 7 || exit.Signal != 0 || exit.Memory == 0 {
		t.Errorf("got %q, %+v", output, exit)
	}
	if _, exit := run(t, Spawn, Command{}, "kill -9 $$"); exit.Signal != 9 || exit.OutOfMemory {
		t.Errorf("got %+v", exit)
	}
}

// What the supervisor has is not the command's: descriptors, signals that it drops, core dumps.
func TestCleanStart(t *testing.T) {
	output, _ := run(t, Spawn, Command{}, `ls /proc/self/fd | wc -l; ulimit -c; kill -TERM $$; echo survived`)
	// 0, 1, 2 and the folder that ls reads.
	if output != "4\n0\n" {
		t.Errorf("got %q", output)
	}
}

func TestLimitsAreInForce(t *testing.T) {
	output, exit := run(t, Spawn, Command{CPUs: 0.5, Memory: 1 << 30, Processes: 50}, `
		for c in cpu memory pids; do
			path=$(grep -E "^[0-9]+:([a-z,]*,)?$c(,[a-z]*)?:" /proc/self/cgroup | cut -d: -f3)
			cat /sys/fs/cgroup/$c$path/cpu.cfs_quota_us /sys/fs/cgroup/$c$path/memory.limit_in_bytes \
				/sys/fs/cgroup/$c$path/pids.max 2> /dev/null
		done`)
	if exit.Enforced.CPUs != ControlGroup || exit.Enforced.Processes != ControlGroup {
		t.Skipf("no control groups here: %+v", exit.Enforced)
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil && output != "50000\n1073741824\n51\n" {
		t.Errorf("got %q", output)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/trellis-" + testName + "-*"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// Without control groups, commands get cores of their own as long as there are enough.
func TestCores(t *testing.T) {
	first := takeCores(0.5)
	if first == nil {
		t.Skip("one core")
	}
	script := `grep Cpus_allowed_list /proc/self/status`
	output, exit := run(t, Spawn, Command{CPUs: 1, Watch: true}, script)
	releaseCores(first)
	if exit.Enforced.CPUs != Affinity || output == fmt.Sprintf("Cpus_allowed_list:\t%d\n", first[0]) ||
		strings.ContainsAny(output, ",-") {
		t.Errorf("got %q, %+v; core %d was taken", output, exit.Enforced, first[0])
	}
	if output, exit := run(t, Spawn, Command{CPUs: 1000, Watch: true}, script); exit.Enforced.CPUs != NotEnforced {
		t.Errorf("got %q, %+v", output, exit.Enforced)
	}
	for core, commands := range cores.commands {
		if commands != 0 {
			t.Errorf("core %d is still taken", core)
		}
	}
}

func TestRefusedProcesses(t *testing.T) {
	_, exit := run(t, Spawn, Command{Processes: 5}, `i=0; while [ $i -lt 20 ]; do sleep 100 & i=$((i+1)); done; exit 1`)
	if exit.Enforced.Processes == ControlGroup && exit.Refused == 0 {
		t.Errorf("got %+v", exit)
	}
}

func TestSpare(t *testing.T) {
	var spare Spare
	for range 3 {
		if output, _ := run(t, spare.Take, Command{}, "echo hello"); output != "hello\n" {
			t.Errorf("got %q", output)
		}
	}
	spare.Close()
	if output, _ := run(t, spare.Take, Command{}, "echo hello"); output != "hello\n" {
		t.Errorf("got %q after Close", output)
	}
	spare.Close()
	if left := descendants(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestStartFails(t *testing.T) {
	process, err := Spawn()
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	var failed *StartError
	err = process.Start(Command{Path: "/no/such", Arguments: []string{"x"}, Folder: "/", Processes: 10, Name: testName})
	if !errors.As(err, &failed) || failed.Errno != syscall.ENOENT {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/trellis-" + testName + "-*"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// A supervisor that is killed before it reads the command has started nothing, although the pipe has the command.
func TestKilledBeforeItReads(t *testing.T) {
	process, err := Spawn()
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	if err := syscall.Kill(process.supervisor.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	go func() { started <- process.Start(Command{Path: "/bin/true", Arguments: []string{"true"}, Folder: "/"}) }()
	for waiting := 0; waiting == 0; { // Until the command is in the pipe.
		if waiting, err = unix.IoctlGetInt(int(process.orders.Fd()), unix.TIOCINQ); err != nil {
			t.Fatal(err)
		}
	}
	if err := process.supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-started; !errors.Is(err, ErrNotStarted) || errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
}

// An unused supervisor ends when it is closed.
func TestCloseUnused(t *testing.T) {
	process, err := Spawn()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadStat(t *testing.T) {
	own, ok := readStat(os.Getpid(), make([]byte, 1024))
	if !ok || own.parent != os.Getppid() || own.threads < 2 || own.pages == 0 || own.dead {
		t.Errorf("got %+v, %t", own, ok)
	}
}

func TestRemoveAll(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a")
	if err := os.MkdirAll(filepath.Join(folder, "b", "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"b/c", "b", "."} {
		if err := os.Chmod(filepath.Join(folder, path), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
