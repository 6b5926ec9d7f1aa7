package supervisor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Argument0 is the name under which the binary is a supervisor.
const Argument0 = "trellis-supervisor"

// Supervising reports whether this process was started as a supervisor. Then it should call Main and exit.
func Supervising() bool { return len(os.Args) > 0 && os.Args[0] == Argument0 }

// Command says what to start.
type Command struct {
	// Path is the executable, absolute or relative to Folder. Arguments begin with the name.
	Path        string
	Arguments   []string
	Environment []string
	// Folder is the working folder.
	Folder string
	// Name is part of the names of control groups, for people who look at them: letters, digits and hyphens.
	Name string
	// Memory in bytes, CPUs in cores and Processes, which counts threads too, are limits. 0 is none.
	Memory    uint64
	CPUs      float64
	Processes int
	// Cores are those that it may use where no control group limits CPUs. Start chooses them.
	Cores []int
	// Watch says that no control groups are made.
	Watch bool
	// Remove is a folder that the supervisor removes if the worker dies. "" is none.
	Remove string
}

// Method says how a limit is enforced.
type Method string

// The methods.
const (
	// NotEnforced is the method of a limit that is not set or can't be enforced.
	NotEnforced Method = ""
	// ControlGroup means that the kernel enforces it, for all processes together.
	ControlGroup Method = "cgroup"
	// Watching means that it is measured several times a second.
	Watching Method = "watching"
	// ResourceLimit means that setrlimit enforces it.
	ResourceLimit Method = "rlimit"
	// Affinity means that the command may use only some cores. Fractions of a core are not enforced.
	Affinity Method = "affinity"
)

// Enforcement says how each limit is enforced.
type Enforcement struct {
	Memory, CPUs, Processes Method
}

// Exit says how a command ended.
type Exit struct {
	// Code is the exit code, and Signal the number of the signal that ended it, 0 if none did.
	Code, Signal int
	// Enforced says how the limits were enforced.
	Enforced Enforcement
	// OutOfMemory says that a process was killed because the limit of memory was reached, or because the machine had
	// none left.
	OutOfMemory bool
	// Memory is the most bytes that were seen in use: of the control group if its limit was reached, of all processes
	// together if they were watched, otherwise of the largest process.
	Memory uint64
	// Refused is how often a process or thread more was refused.
	Refused int
	// CPU is the processor time of all processes that were waited for.
	CPU time.Duration
	// Left is how many processes could not be killed.
	Left int
}

// ErrUnsupported is returned where programs can't be run.
var ErrUnsupported = errors.New("programs can't be run on this operating system")

// ErrLost means that the supervisor ended before the command did. The command was killed.
var ErrLost = errors.New("the supervisor of the program ended unexpectedly")

// ErrNotStarted means that the supervisor ended before it took the command. Another may be given it.
var ErrNotStarted = errors.New("the supervisor has ended")

// StartError says why a command could not be started.
type StartError struct {
	// Step is what failed.
	Step  string
	Errno syscall.Errno
}

func (e *StartError) Error() string { return fmt.Sprintf("%s: %v", e.Step, e.Errno) }

func (e *StartError) Unwrap() error { return e.Errno }

// event is what a supervisor tells its worker, a line of JSON each.
type event struct {
	// Taken comes before anything is done for the command.
	Taken   bool        `json:",omitempty"`
	Started *started    `json:",omitempty"`
	Failed  *StartError `json:",omitempty"`
	Ended   *Exit       `json:",omitempty"`
}

// started says that the command runs. Groups are the folders of its control groups.
type started struct {
	PID    int
	Groups []string
}

// Orders of a worker, a line each.
const (
	orderTerminate = "terminate"
	orderKill      = "kill"
)
