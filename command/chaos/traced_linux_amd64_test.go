package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// effect is what is done to a system call.
type effect int

const (
	// killBefore and killAfter kill the process when it makes the call, or when the call has been carried out.
	killBefore effect = iota + 1
	killAfter
	// fail answers the call with an error instead of carrying it out; failFrom does so with all calls from there on.
	fail
	failFrom
	// stall lets the call wait.
	stall
)

// fault is what is done, and at which of the calls that change the data directory, counted from 1. 0 is none.
type fault struct {
	effect effect
	at     int
	errno  syscall.Errno
	delay  time.Duration
	// only, if set, counts only calls for which it is true.
	only func(change) bool
}

func (f fault) String() string {
	switch f.effect {
	case killBefore:
		return fmt.Sprintf("killed before change %d", f.at)
	case killAfter:
		return fmt.Sprintf("killed after change %d", f.at)
	case fail:
		return fmt.Sprintf("change %d fails: %v", f.at, f.errno)
	case failFrom:
		return fmt.Sprintf("all changes from %d on fail: %v", f.at, f.errno)
	case stall:
		return fmt.Sprintf("change %d takes %v", f.at, f.delay)
	default:
		return "no fault"
	}
}

// change is a system call that changes a file or folder.
type change struct{ call, path string }

func (c change) String() string { return c.call + " " + c.path }

// tracer runs a process and stops it at each system call that changes something below dir.
type tracer struct {
	dir   string
	fault fault
	pid   int
	// threads are those that have been seen.
	threads map[int]bool

	mu      sync.Mutex
	changes []change
	// fired is closed when the fault is injected for the first time.
	fired chan struct{}
}

// startTraced starts the process under a tracer. It may end by itself.
func (p *process) startTraced(fault fault) *tracer {
	p.fleet.Helper()
	log := p.openLog()
	defer log.Close()
	fmt.Fprintf(log, "--- %v\n", fault)
	t := &tracer{dir: p.data, fault: fault, threads: map[int]bool{}, fired: make(chan struct{})}
	self, err := os.Executable()
	if err != nil {
		p.fleet.Fatal(err)
	}
	p.exited = make(chan struct{})
	p.expect(true)
	p.started = time.Now()
	started := make(chan error)
	line := p.commandLine()
	go func() {
		// The thread that has started a process traces it. It ends with this goroutine.
		runtime.LockOSThread()
		pid, err := syscall.ForkExec(self, line, &syscall.ProcAttr{
			Env:   append(p.environment(), tracedVariable+"="+line[0]),
			Files: []uintptr{0, log.Fd(), log.Fd()},
			Sys:   &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
		})
		t.pid = pid
		if err == nil {
			p.process, err = os.FindProcess(pid)
		}
		started <- err
		if err == nil {
			p.ended(t.run())
		}
	}()
	if err := <-started; err != nil {
		p.fleet.Fatal(err)
	}
	return t
}

// seen is the changes so far.
func (t *tracer) seen() []change {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changes
}

const (
	// options make the kernel report calls that the filter selects and every new thread, and end the process with us.
	options = unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	// afterCall is the stop after a call.
	afterCall = syscall.SIGTRAP | 0x80
)

// held is a thread that waits in a call, and until when.
type held struct {
	thread int
	until  time.Time
}

// run serves the stops of the process until it has ended, and returns its exit code.
func (t *tracer) run() int {
	var waiting []held
	for {
		flags := unix.WALL | unix.WNOTHREAD
		if len(waiting) > 0 {
			flags |= unix.WNOHANG
			if time.Now().After(waiting[0].until) {
				_ = syscall.PtraceCont(waiting[0].thread, 0)
				waiting = waiting[1:]
			}
		}
		var status syscall.WaitStatus
		// The process is a group of its own. Other children of this thread are others' to wait for.
		thread, err := syscall.Wait4(-t.pid, &status, flags, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return -1
		case thread == 0:
			time.Sleep(time.Millisecond)
		case thread == t.pid && (status.Exited() || status.Signaled()):
			return status.ExitStatus()
		case status.Stopped():
			if t.stopped(thread, status) == stall {
				waiting = append(waiting, held{thread, time.Now().Add(t.fault.delay)})
			}
		}
	}
}

// stopped serves one stop. Errors mean that the thread has been killed meanwhile. It returns stall if the thread is not
// to go on yet.
func (t *tracer) stopped(thread int, status syscall.WaitStatus) effect {
	signal := status.StopSignal()
	first := !t.threads[thread]
	t.threads[thread] = true
	switch {
	case first && thread == t.pid:
		_ = syscall.PtraceSetOptions(thread, options)
		signal = 0
	case first && signal == syscall.SIGSTOP:
		signal = 0
	case signal == afterCall:
		_ = syscall.Kill(t.pid, syscall.SIGKILL)
		return 0
	case signal == syscall.SIGTRAP && status.TrapCause() == unix.PTRACE_EVENT_SECCOMP:
		return t.called(thread)
	case signal == syscall.SIGTRAP:
		signal = 0
	}
	_ = syscall.PtraceCont(thread, int(signal))
	return 0
}

// called looks at a call that a thread is about to make, and does to it what the fault says.
func (t *tracer) called(thread int) effect {
	var registers syscall.PtraceRegs
	if syscall.PtraceGetRegs(thread, &registers) != nil {
		return 0
	}
	effect := t.meet(changeOf(thread, &registers))
	switch effect {
	case killBefore:
		_ = syscall.Kill(t.pid, syscall.SIGKILL)
	case killAfter:
		_ = syscall.PtraceSyscall(thread, 0)
	case stall:
	case fail, failFrom:
		// A call without a number is not made, and returns what is in its register.
		registers.Orig_rax, registers.Rax = ^uint64(0), uint64(-int64(t.fault.errno))
		_ = syscall.PtraceSetRegs(thread, &registers)
		fallthrough
	default:
		_ = syscall.PtraceCont(thread, 0)
	}
	return effect
}

// meet counts a change and says what is to be done to it, 0 for nothing.
func (t *tracer) meet(c change) effect {
	if c.path != t.dir && !strings.HasPrefix(c.path, t.dir+string(filepath.Separator)) {
		return 0
	}
	if t.fault.only != nil && !t.fault.only(c) {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes = append(t.changes, c)
	n := len(t.changes)
	if n == t.fault.at {
		close(t.fired)
		return t.fault.effect
	}
	if t.fault.effect == failFrom && t.fault.at > 0 && n > t.fault.at {
		return failFrom
	}
	return 0
}
