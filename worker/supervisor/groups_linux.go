package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// groups are the control groups of a command: one in each hierarchy that is of use.
type groups struct {
	all []group
}

// group is a control group. In version 1 there is a hierarchy for each controller, or for a few; in version 2 one for
// all. Systems of transition have both, and version 2 then serves only to kill.
type group struct {
	hierarchy
	folder string
	// limits are the controllers of it that limit the command.
	limits []string
}

// makeGroups makes the control groups that enforce a command's limits, as far as that can be done here, and says what
// they enforce.
func makeGroups(command *Command, enforced *Enforcement) groups {
	wanted := map[string]bool{
		"memory": command.Memory > 0, "cpu": command.CPUs > 0, "pids": command.Processes > 0,
	}
	var made groups
	if command.Watch {
		return made
	}
	for _, h := range hierarchies() {
		g := group{hierarchy: h}
		for _, controller := range h.controllers {
			if wanted[controller] {
				g.limits = append(g.limits, controller)
			}
		}
		if len(g.limits) == 0 && !h.unified {
			continue
		}
		g.folder = filepath.Join(h.folder, "trellis-"+command.Name+"-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(g.folder, 0o755) != nil {
			continue
		}
		g.limits = slices.DeleteFunc(g.limits, func(controller string) bool { return !g.limit(controller, command) })
		for _, controller := range g.limits {
			wanted[controller] = false
		}
		made.all = append(made.all, g)
	}
	made.describe(enforced)
	return made
}

func (g *groups) describe(enforced *Enforcement) {
	method := func(controller string) Method {
		if g.with(controller) == nil {
			return NotEnforced
		}
		return ControlGroup
	}
	*enforced = Enforcement{Memory: method("memory"), CPUs: method("cpu"), Processes: method("pids")}
}

// limit sets a limit, and reports whether it is in force.
func (g *group) limit(controller string, command *Command) bool {
	memory := strconv.FormatUint(command.Memory, 10)
	const period = 100_000 // microseconds
	quota := strconv.FormatInt(max(int64(command.CPUs*period), 1000), 10)
	switch {
	case controller == "pids":
		limit := command.Processes
		if !g.unified {
			limit++ // The thread that has joined.
		}
		return g.set("pids.max", strconv.Itoa(limit))
	case controller == "memory" && g.unified:
		g.set("memory.swap.max", "0")
		g.set("memory.oom.group", "1")
		return g.set("memory.max", memory)
	case controller == "memory":
		limited := g.set("memory.limit_in_bytes", memory)
		// Where swap is accounted for, it counts too.
		g.set("memory.memsw.limit_in_bytes", memory)
		return limited
	case controller == "cpu" && g.unified:
		return g.set("cpu.max", quota+" "+strconv.Itoa(period))
	case controller == "cpu":
		return g.set("cpu.cfs_period_us", strconv.Itoa(period)) && g.set("cpu.cfs_quota_us", quota)
	default:
		return false
	}
}

func (g *group) set(file, value string) bool { return setFile(filepath.Join(g.folder, file), value) }

// setFile writes to a file of a control group. It is there already: nothing is created where it is not.
func setFile(path, value string) bool {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	_, err = file.WriteString(value)
	return errors.Join(err, file.Close()) == nil
}

func (g *groups) folders() []string {
	folders := make([]string, 0, len(g.all))
	for _, g := range g.all {
		folders = append(folders, g.folder)
	}
	return folders
}

// with returns the group that limits the command by a controller, nil if none does.
func (g *groups) with(controller string) *group {
	for i := range g.all {
		if slices.Contains(g.all[i].limits, controller) {
			return &g.all[i]
		}
	}
	return nil
}

// join puts the calling thread into the groups of version 1. It stays there until it ends: to move it back would take
// the kernel milliseconds.
func (g *groups) join() error {
	for _, g := range g.all {
		if !g.unified && !g.set("tasks", strconv.Itoa(syscall.Gettid())) {
			return errors.New("write " + filepath.Join(g.folder, "tasks"))
		}
	}
	return nil
}

// unified returns the group of version 2, opened so that a process can be started in it. nil if there is none.
func (g *groups) unified() *os.File {
	for _, g := range g.all {
		if g.hierarchy.unified {
			file, err := os.Open(g.folder)
			if err != nil {
				return nil
			}
			return file
		}
	}
	return nil
}

// forgetUnified removes the group of version 2: no process can be started in it.
func (g *groups) forgetUnified(enforced *Enforcement) {
	g.all = slices.DeleteFunc(g.all, func(g group) bool {
		if g.hierarchy.unified {
			removeGroup(g.folder)
		}
		return g.hierarchy.unified
	})
	g.describe(enforced)
}

// kill kills what is in the groups.
func (g *groups) kill() {
	for _, g := range g.all {
		killGroup(g.folder)
	}
}

func (g *groups) remove() {
	for _, g := range g.all {
		removeGroup(g.folder)
	}
}

// outOfMemory reports whether the kernel has killed a process because the limit was reached.
func (g *groups) outOfMemory() bool {
	memory := g.with("memory")
	switch {
	case memory == nil:
		return false
	case memory.unified:
		return keyed(filepath.Join(memory.folder, "memory.events"), "oom_kill") > 0
	default:
		return keyed(filepath.Join(memory.folder, "memory.oom_control"), "oom_kill") > 0
	}
}

// peak is the most bytes of memory that were used, the cache of files included. 0 if the kernel does not say.
func (g *groups) peak() uint64 {
	memory := g.with("memory")
	if memory == nil {
		return 0
	}
	file := "memory.max_usage_in_bytes"
	if memory.unified {
		file = "memory.peak"
	}
	text, err := os.ReadFile(filepath.Join(memory.folder, file))
	if err != nil {
		return 0
	}
	bytes, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return bytes
}

// refused is how often the limit of processes was met.
func (g *groups) refused() int {
	if pids := g.with("pids"); pids != nil {
		return int(keyed(filepath.Join(pids.folder, "pids.events"), "max"))
	}
	return 0
}

// killGroup kills all processes in a control group.
func killGroup(folder string) {
	if setFile(filepath.Join(folder, "cgroup.kill"), "1") {
		return
	}
	text, err := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 1 && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// removeGroup removes a control group. Its processes have just ended, which the kernel may need a moment to see,
// on a busy machine more than 200 ms.
func removeGroup(folder string) {
	for range 2000 {
		if err := os.Remove(folder); err == nil || !errors.Is(err, syscall.EBUSY) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// killGroups kills what is in the groups of a lost supervisor and removes them.
func killGroups(folders []string) {
	for range 500 {
		left := false
		for _, folder := range folders {
			killGroup(folder)
			if err := os.Remove(folder); errors.Is(err, syscall.EBUSY) {
				left = true
			}
		}
		if !left {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
