//go:build unix && !linux

package supervisor

import (
	"errors"
	"os"
	"syscall"
)

// This system has no subreapers and control groups: what leaves the process group can survive.

func becomeReaper() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}

func (s *supervision) start() (release func(), failed *StartError) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		defer null.Close()
		s.pid, err = syscall.ForkExec(s.command.Path, s.command.Arguments, &syscall.ProcAttr{
			Dir: s.command.Folder, Env: s.command.Environment, Sys: &syscall.SysProcAttr{Setpgid: true},
			Files: []uintptr{null.Fd(), outputFile, outputFile},
		})
	}
	if err != nil {
		errno := syscall.EIO
		errors.As(err, &errno)
		return nil, &StartError{Step: "start", Errno: errno}
	}
	return func() {}, nil
}

func maxRSS(usage *syscall.Rusage) uint64 { return uint64(usage.Maxrss) }

func killTree(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

func descendants() []struct{} { return nil }

func systemOOMKills() uint64 { return 0 }

type watcher struct {
	exceeded chan struct{}
	peak     uint64
	over     bool
}

func (s *supervision) watch() *watcher { return &watcher{exceeded: make(chan struct{})} }

func (*watcher) stop() {}

type groups struct{}

func makeGroups(*Command, *Enforcement) groups { return groups{} }

func (groups) folders() []string { return nil }

func (groups) kill() {}

func (groups) remove() {}

func (groups) outOfMemory() bool { return false }

func (groups) peak() uint64 { return 0 }

func (groups) refused() int { return 0 }

func killGroups([]string) {}

func takeCores(float64) []int { return nil }

func releaseCores([]int) {}
