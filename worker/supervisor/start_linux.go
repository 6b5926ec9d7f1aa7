package supervisor

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeReaper makes orphans of all that this process starts its children, and forbids core dumps.
func becomeReaper() {
	// What the worker was started with is not the command's either. Kernels before 5.11 can't do this at once.
	_ = unix.CloseRange(eventsFile, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

// start starts the command. release must be called when it has ended.
func (s *supervision) start() (release func(), failed *StartError) {
	done, finish := make(chan *StartError), make(chan struct{})
	// A thread of its own: in version 1, a thread can join a group, and what it starts begins there. And
	// PR_SET_PDEATHSIG fires when the thread that started the command ends, so it must last.
	go onThread(func() {
		done <- s.startHere()
		<-finish
	})
	if failed := <-done; failed != nil {
		close(finish)
		return nil, failed
	}
	s.limit()
	return func() { close(finish) }, nil
}

// onThread calls a function on a thread that ends with it.
func onThread(do func()) {
	runtime.LockOSThread()
	if syscall.Gettid() != syscall.Getpid() {
		do()
		return // Locked: the runtime ends the thread with the goroutine.
	}
	// The process's first thread does not end, so another one must do it. This one is held meanwhile, to get another
	// one.
	defer runtime.UnlockOSThread()
	began := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(began)
		do()
	}()
	<-began
}

func (s *supervision) startHere() *StartError {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return startError("open "+os.DevNull, err)
	}
	defer null.Close()
	if err := s.groups.join(); err != nil {
		return startError("join control group", err)
	}
	if s.exit.Enforced.CPUs == NotEnforced && useCores(s.command.Cores) {
		s.exit.Enforced.CPUs = Affinity
	}
	attributes := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if unified := s.groups.unified(); unified != nil {
		defer unified.Close()
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(unified.Fd())
	}
	process := &syscall.ProcAttr{
		Dir: s.command.Folder, Env: s.command.Environment, Sys: attributes,
		Files: []uintptr{null.Fd(), outputFile, outputFile},
	}
	s.pid, err = syscall.ForkExec(s.command.Path, s.command.Arguments, process)
	if attributes.UseCgroupFD && (errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EPERM)) {
		// Containers may forbid clone3.
		s.groups.forgetUnified(&s.exit.Enforced)
		attributes.UseCgroupFD = false
		s.pid, err = syscall.ForkExec(s.command.Path, s.command.Arguments, process)
	}
	if err != nil {
		return startError("start", err)
	}
	return nil
}

func startError(step string, err error) *StartError {
	errno := syscall.EIO
	errors.As(err, &errno)
	return &StartError{Step: step, Errno: errno}
}

// limit sets what can be set only once the command runs.
func (s *supervision) limit() {
	// When the machine runs out of memory, the program goes, not the worker.
	_ = os.WriteFile("/proc/"+strconv.Itoa(s.pid)+"/oom_score_adj", []byte("500"), 0o200)
	if s.command.Processes > 0 && s.exit.Enforced.Processes == NotEnforced && os.Geteuid() != 0 {
		// It counts all processes of the user, so what there is already comes on top.
		limit := uint64(s.command.Processes + threadsOf(os.Geteuid()))
		if unix.Prlimit(s.pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: limit, Max: limit}, nil) == nil {
			s.exit.Enforced.Processes = ResourceLimit
		}
	}
}

func maxRSS(usage *syscall.Rusage) uint64 { return uint64(usage.Maxrss) << 10 }
