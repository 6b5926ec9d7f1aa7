package supervisor

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// cores counts the commands of this worker on each core that it may use.
var cores = struct {
	sync.Mutex
	commands map[int]int
}{commands: map[int]int{}}

// takeCores returns as many cores as a limit needs, those that have the fewest commands. nil if it needs all.
func takeCores(cpus float64) []int {
	var allowed unix.CPUSet
	if cpus <= 0 || unix.SchedGetaffinity(0, &allowed) != nil {
		return nil
	}
	var own []int
	for core := range len(allowed) * 64 {
		if allowed.IsSet(core) {
			own = append(own, core)
		}
	}
	needed := int(math.Ceil(cpus))
	if needed >= len(own) {
		return nil
	}
	cores.Lock()
	defer cores.Unlock()
	slices.SortStableFunc(own, func(a, b int) int { return cmp.Compare(cores.commands[a], cores.commands[b]) })
	for _, core := range own[:needed] {
		cores.commands[core]++
	}
	return own[:needed]
}

// releaseCores gives them back.
func releaseCores(taken []int) {
	cores.Lock()
	defer cores.Unlock()
	for _, core := range taken {
		cores.commands[core]--
	}
}

// useCores limits the calling thread, and what it starts, to cores.
func useCores(taken []int) bool {
	if len(taken) == 0 {
		return false
	}
	var set unix.CPUSet
	for _, core := range taken {
		set.Set(core)
	}
	return unix.SchedSetaffinity(0, &set) == nil
}
