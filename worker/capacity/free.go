package capacity

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Free is how many bytes this process can still take, as files below root say it, which is "/": what the machine has
// available, or what is left of the limit of its group of processes if that is less. It is math.MaxUint64 if nobody
// says.
func Free(root string) uint64 {
	free := uint64(math.MaxUint64)
	if info, err := os.ReadFile(filepath.Join(root, "proc/meminfo")); err == nil {
		if available := kibibytes(info, "MemAvailable") << 10; available > 0 {
			free = available
		}
	}
	for _, file := range limitFiles(root) {
		folder, name := filepath.Split(filepath.Join(root, file))
		usage, inactive := "memory.current", "inactive_file"
		if name != "memory.max" {
			usage, inactive = "memory.usage_in_bytes", "total_inactive_file"
		}
		limit, limited := number(filepath.Join(folder, name))
		used, known := number(filepath.Join(folder, usage))
		if !limited || !known {
			continue
		}
		// Files that nobody has read for a while are given up first.
		if statistics, err := os.ReadFile(filepath.Join(folder, "memory.stat")); err == nil {
			used -= min(used, field(statistics, inactive))
		}
		free = min(free, limit-min(limit, used))
	}
	return free
}

// number reads a file that has nothing but a number.
func number(file string) (uint64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	value, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return value, err == nil
}

// field returns the number in a line such as "inactive_file 4096".
func field(lines []byte, name string) uint64 {
	for line := range strings.Lines(string(lines)) {
		if its, text, _ := strings.Cut(strings.TrimSpace(line), " "); its == name {
			value, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				return 0
			}
			return value
		}
	}
	return 0
}
