package supervisor

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// stat is what /proc/PID/stat says of a process.
type stat struct {
	pid, parent int
	threads     int
	// pages are its resident pages, those that it shares included.
	pages uint64
	// dead says that it only waits to be reaped.
	dead bool
}

// processes returns all that there are.
func processes() []stat {
	folder, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer folder.Close()
	names, _ := folder.Readdirnames(-1)
	all := make([]stat, 0, len(names))
	buffer := make([]byte, 1024)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if s, ok := readStat(pid, buffer); ok {
			all = append(all, s)
		}
	}
	return all
}

func readStat(pid int, buffer []byte) (stat, bool) {
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false // It has ended.
	}
	defer file.Close()
	n, _ := file.Read(buffer)
	// The name, in parentheses, may contain anything.
	end := bytes.LastIndexByte(buffer[:n], ')')
	fields := strings.Fields(string(buffer[max(end, 0):n]))
	// Of proc_pid_stat(5): 3 state, 4 ppid, 20 num_threads, 24 rss. The first field here is the end of the second.
	if end < 0 || len(fields) < 23 {
		return stat{}, false
	}
	s := stat{pid: pid, dead: fields[1] == "Z" || fields[1] == "X"}
	s.parent, _ = strconv.Atoi(fields[2])
	s.threads, _ = strconv.Atoi(fields[18])
	s.pages, _ = strconv.ParseUint(fields[22], 10, 64)
	return s, true
}

// descendants returns the living processes that came of this one.
func descendants() []stat {
	children := map[int][]stat{}
	for _, s := range processes() {
		children[s.parent] = append(children[s.parent], s)
	}
	var found []stat
	for queue := []int{os.Getpid()}; len(queue) > 0; queue = queue[1:] {
		for _, child := range children[queue[0]] {
			queue = append(queue, child.pid)
			if !child.dead {
				found = append(found, child)
			}
		}
	}
	return found
}

// killTree kills all that came of this process. It stops them first, until it finds no more: what is stopped starts
// nothing new, so even a fork bomb is caught up with.
func killTree(int) {
	stopped := map[int]bool{}
	for range 100 {
		more := false
		for _, process := range descendants() {
			if !stopped[process.pid] {
				stopped[process.pid], more = true, true
				_ = syscall.Kill(process.pid, syscall.SIGSTOP)
			}
		}
		if !more {
			break
		}
	}
	for pid := range stopped {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// threadsOf counts the threads of a user.
func threadsOf(user int) int {
	threads := 0
	for _, s := range processes() {
		info, err := os.Stat("/proc/" + strconv.Itoa(s.pid))
		if err != nil {
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == user {
			threads += s.threads
		}
	}
	return threads
}

// systemOOMKills is how many processes the kernel has killed since it started because there was no memory left.
func systemOOMKills() uint64 { return keyed("/proc/vmstat", "oom_kill") }

// keyed returns the number after a key in a file of lines of keys and numbers, 0 if it is not there.
func keyed(path, key string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == key {
			n, _ := strconv.ParseUint(fields[1], 10, 64)
			return n
		}
	}
	return 0
}
