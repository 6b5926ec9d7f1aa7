package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trellis/command/fake"
)

const (
	// patience is how long anything may take. It ends tests that would hang, and decides nothing else.
	patience = time.Minute
	// shownLines is how much of each process's log a failed test shows.
	shownLines = 40
)

// fleet is the processes of one test.
type fleet struct {
	*testing.T
	// dir has a log and, for coordinators, a data directory for each process.
	dir       string
	processes []*process
	// certificates is the folder of the certificates that processes use. It is empty if they connect without
	// encryption.
	certificates string
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	dir, err := os.MkdirTemp("", "trellis-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{T: t, dir: dir}
	t.Cleanup(f.close)
	return f
}

// killAll kills what still runs.
func (f *fleet) killAll() {
	for _, p := range f.processes {
		p.kill()
	}
}

// close kills what still runs and looks through the logs.
func (f *fleet) close() {
	f.killAll()
	for _, p := range f.processes {
		for _, defect := range []string{
			"panic: ", "fatal error: ", "DATA RACE", "a call panicked",
			"trainer panicked",
		} {
			if strings.Contains(p.said(), defect) {
				f.Errorf("%s: its log has %q", p.name, defect)
			}
		}
	}
	if !f.Failed() && os.Getenv("TRELLIS_CHAOS_KEEP") == "" {
		if err := os.RemoveAll(f.dir); err != nil {
			f.Error(err)
		}
		return
	}
	f.Logf("logs and data directories are kept in %s", f.dir)
	for _, p := range f.processes {
		lines := strings.Split(strings.TrimSpace(p.said()), "\n")
		f.Logf("%s said at last:\n%s", p.name, strings.Join(lines[max(0, len(lines)-shownLines):], "\n"))
	}
}

// process is trellis with the same arguments each time it is started. Only one goroutine may start and stop it.
type process struct {
	fleet *fleet
	name  string
	// wrapped is what runs the binary, in a network namespace for example; empty for itself.
	wrapped []string
	args    []string
	// address is where a coordinator serves; data its data directory.
	address, data string

	started time.Time
	// process is nil while it does not run. exited is closed when it has ended, with code.
	process *os.Process
	exited  chan struct{}
	code    int

	mu sync.Mutex
	// killed says that the process is not to end by itself.
	killed bool
}

func (f *fleet) newProcess(name string, args ...string) *process {
	p := &process{fleet: f, name: name, args: args}
	f.processes = append(f.processes, p)
	return p
}

// newCoordinator returns a coordinator with a data directory and a port of its own.
func (f *fleet) newCoordinator(name string, args ...string) *process {
	f.Helper()
	return f.newCoordinatorAt(name, "127.0.0.1", args...)
}

// newCoordinatorAt returns a coordinator that listens at a host.
func (f *fleet) newCoordinatorAt(name, host string, args ...string) *process {
	f.Helper()
	address := fake.FreeAddressAt(f.T, host)
	data := filepath.Join(f.dir, name+"-data")
	args = append(args, f.certified("node-"+host)...)
	p := f.newProcess(name, append([]string{"coordinator", "--listen", address, "--data", data}, args...)...)
	p.address, p.data = address, data
	return p
}

// newWorker returns a worker of the coordinators.
func (f *fleet) newWorker(name string, coordinators string, args ...string) *process {
	args = append(args, f.certified("worker-chaos")...)
	return f.newProcess(name, append([]string{
		"worker", "--coordinator", coordinators, "--name", name,
		"--cache-dir", filepath.Join(f.dir, "cache"),
	}, args...)...)
}

func (p *process) logPath() string { return filepath.Join(p.fleet.dir, p.name+".log") }

// said is all that the process has written so far, each time it was started.
func (p *process) said() string {
	text, err := os.ReadFile(p.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// openLog opens the process's log behind what is there already.
func (p *process) openLog() *os.File {
	log, err := os.OpenFile(p.logPath(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		p.fleet.Fatal(err)
	}
	fmt.Fprintf(log, "--- started at %s\n", time.Now().Format("15:04:05.000"))
	return log
}

func (p *process) environment() []string {
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "TRELLIS_")
	})
	return append(environment, "XDG_CACHE_HOME="+p.fleet.dir, "XDG_DATA_HOME="+p.fleet.dir)
}

// commandLine is what is run.
func (p *process) commandLine() []string {
	line := append(slices.Clone(p.wrapped), binary)
	return append(line, p.args...)
}

// start starts the process. If it ends before it is killed or stopped, the test fails.
func (p *process) start() {
	p.fleet.Helper()
	log := p.openLog()
	defer log.Close()
	line := p.commandLine()
	command := exec.Command(line[0], line[1:]...)
	command.Env, command.Stdout, command.Stderr = p.environment(), log, log
	p.started = time.Now()
	if err := command.Start(); err != nil {
		p.fleet.Fatal(err)
	}
	p.process, p.exited = command.Process, make(chan struct{})
	p.expect(false)
	go func() {
		command.Wait()
		p.ended(command.ProcessState.ExitCode())
	}()
}

// ended notes that the process has ended, with -1 if by a signal.
func (p *process) ended(code int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.code = code
	if !p.killed {
		p.fleet.Errorf("%s has ended by itself with code %d", p.name, code)
	}
	close(p.exited)
}

// expect says whether the process may end from now on.
func (p *process) expect(end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = end
}

// kill ends the process at once, as far as it runs.
func (p *process) kill() {
	if p.process == nil {
		return
	}
	p.expect(true)
	p.signal(syscall.SIGKILL)
	<-p.exited
	p.process = nil
}

// stop ends the process by SIGTERM.
func (p *process) stop() {
	p.fleet.Helper()
	p.expect(true)
	p.signal(syscall.SIGTERM)
	p.await()
}

// await waits for a process that is to end, and returns its exit code.
func (p *process) await() int {
	p.fleet.Helper()
	p.expect(true)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.fleet.Fatalf("%s has not ended within %v", p.name, patience)
	}
	p.process = nil
	return p.code
}

// signal sends a signal. A process that has just ended does not mind.
func (p *process) signal(signal os.Signal) {
	if err := p.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.fleet.Errorf("send %v to %s: %v", signal, p.name, err)
	}
}

// eventually waits until the condition returns no error.
func eventually(t *testing.T, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
