package capacity

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// maxGPUs and maxText are limits of the coordinator.
	maxGPUs = 1024
	maxText = 255
	// toolTimeout is how long nvidia-smi may take.
	toolTimeout = 10 * time.Second
)

// Of returns what this machine has. root is "/", or the folder of another machine's files in tests: then no tool is asked.
func Of(ctx context.Context, root string) *trellisv1.Capacity {
	return &trellisv1.Capacity{
		Cpus: float64(runtime.GOMAXPROCS(0)), Memory: memory(root), Gpus: gpus(ctx, root),
	}
}

// memory is how many bytes the machine has, or this process's group of processes may use if that is less. 0: unknown.
func memory(root string) uint64 {
	total := uint64(0)
	info, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err == nil {
		total = kibibytes(info, "MemTotal") << 10
	}
	for _, file := range limitFiles(root) {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue
		}
		// "max" is no limit.
		if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 &&
			(total == 0 || limit < total) {
			total = limit
		}
	}
	return total
}

// limitFiles are the files with the limits on this process's memory: those of its group and of each above it, in either version
// of control groups. In a container its group is the root, whatever its name is outside.
func limitFiles(root string) []string {
	files := []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return files
	}
	for line := range strings.Lines(string(groups)) {
		// number:controllers:path, without controllers in version 2.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		base, name := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[0] == "0" && fields[1] == "":
		case slices.Contains(strings.Split(fields[1], ","), "memory"):
			base, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for group := path.Clean("/" + fields[2]); group != "/"; group = path.Dir(group) {
			files = append(files, path.Join(base, group, name))
		}
	}
	return files
}

// kibibytes returns the number in a line such as "MemTotal:  16384 kB".
func kibibytes(info []byte, name string) uint64 {
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == name+":" {
			number, err := strconv.ParseUint(fields[1], 10, 54)
			if err != nil {
				return 0
			}
			return number
		}
	}
	return 0
}

// gpus are those that nvidia's driver has files for or, if it has none, those that its tool lists.
func gpus(ctx context.Context, root string) []*trellisv1.Gpu {
	found := fromDriver(root)
	if len(found) == 0 && root == "/" {
		found = fromTool(ctx)
	}
	return found[:min(len(found), maxGPUs)]
}

// fromDriver reads /proc/driver/nvidia/gpus/<bus>/information.
func fromDriver(root string) []*trellisv1.Gpu {
	files, err := filepath.Glob(filepath.Join(root, "proc/driver/nvidia/gpus/*/information"))
	if err != nil {
		return nil
	}
	slices.Sort(files) // In the order of the bus, as the driver's tool has them.
	var found []*trellisv1.Gpu
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if gpu := parseInformation(content, len(found)); gpu != nil {
			found = append(found, gpu)
		}
	}
	return found
}

// parseInformation reads what the driver says of one GPU. It returns nil if it is excluded. number is how many came before.
func parseInformation(content []byte, number int) *trellisv1.Gpu {
	fields := map[string]string{}
	for line := range strings.Lines(string(content)) {
		if name, value, found := strings.Cut(line, ":"); found {
			fields[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	if fields["GPU Excluded"] == "Yes" {
		return nil
	}
	gpu := &trellisv1.Gpu{Id: strconv.Itoa(number), Model: text(fields["Model"])}
	// The numbers of CUDA follow an order of its own, so the UUID is better. The driver hides it until it is used.
	switch uuid, minor := fields["GPU UUID"], fields["Device Minor"]; {
	case uuidPattern.MatchString(uuid):
		gpu.Id = uuid
	case numberPattern.MatchString(minor):
		gpu.Id = minor
	}
	return gpu
}

var (
	uuidPattern   = regexp.MustCompile(`^((GPU|MIG)-[0-9a-fA-F-]{1,100}|MIG-GPU-[0-9a-fA-F-]{1,90}/[0-9]{1,3}/[0-9]{1,3})$`)
	numberPattern = regexp.MustCompile(`^[0-9]{1,4}$`)
	// toolPattern matches a line of nvidia-smi -L.
	toolPattern = regexp.MustCompile(`^GPU (\d+): (.*?) \(UUID: ([^)]+)\)`)
)

// fromTool asks nvidia-smi, which is not there on machines without GPUs.
func fromTool(ctx context.Context) []*trellisv1.Gpu {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	listing, err := exec.CommandContext(ctx, "nvidia-smi", "-L").Output()
	if err != nil {
		return nil
	}
	return parseListing(listing)
}

func parseListing(listing []byte) []*trellisv1.Gpu {
	var found []*trellisv1.Gpu
	lines := bufio.NewScanner(bytes.NewReader(listing))
	for lines.Scan() {
		match := toolPattern.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		id := match[1]
		if uuidPattern.MatchString(match[3]) {
			id = match[3]
		}
		found = append(found, &trellisv1.Gpu{Id: id, Model: text(match[2])})
	}
	return found
}

func text(s string) string {
	s = strings.ToValidUTF8(s, "")
	return s[:min(len(s), maxText)]
}

// ParseGPUs reads what a user says that a worker has: a number, which stands for the ids from 0 on, or "device=" and a list
// of ids with commas between.
func ParseGPUs(value string) ([]*trellisv1.Gpu, error) {
	var found []*trellisv1.Gpu
	if list, listed := strings.CutPrefix(value, "device="); listed {
		for id := range strings.SplitSeq(list, ",") {
			if !uuidPattern.MatchString(id) && !numberPattern.MatchString(id) {
				return nil, fmt.Errorf("%q is neither the number nor the UUID of a GPU", id)
			}
			if slices.ContainsFunc(found, func(gpu *trellisv1.Gpu) bool { return gpu.GetId() == id }) {
				return nil, fmt.Errorf("GPU %s is given twice", id)
			}
			found = append(found, &trellisv1.Gpu{Id: id})
		}
		return found, nil
	}
	number, err := strconv.ParseUint(value, 10, 32)
	if err != nil || number > maxGPUs {
		return nil, fmt.Errorf("must be a number of GPUs up to %d, or device= and their ids, for example 2 or device=0,2",
			maxGPUs)
	}
	for id := range number {
		found = append(found, &trellisv1.Gpu{Id: strconv.FormatUint(id, 10)})
	}
	return found, nil
}
