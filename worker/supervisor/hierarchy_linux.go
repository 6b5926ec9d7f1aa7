package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hierarchy is one tree of control groups, and where this process is in it.
type hierarchy struct {
	// unified says that it is of version 2.
	unified bool
	// folder is where groups can be made: the group that this process is in or, see settle, the one above it.
	folder string
	// controllers are those that a group made there can have.
	controllers []string
}

// used are the controllers that are of use.
var used = []string{"memory", "cpu", "pids"}

// ownLeaf is the group that a worker moves to, so that there can be limited groups beside it: in version 2, a group has
// either processes or groups with controllers.
const ownLeaf = "trellis-worker"

// hierarchies returns those in which this process may be able to make groups.
func hierarchies() []hierarchy {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	return parseHierarchies(string(mounts), string(membership))
}

// parseHierarchies reads the files of proc_pid_mountinfo(5) and cgroups(7).
func parseHierarchies(mounts, membership string) []hierarchy {
	var found []hierarchy
	for line := range strings.Lines(membership) {
		// 4:memory,pids:/path, and 0::/path in version 2.
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		h := hierarchy{unified: parts[0] == "0" && parts[1] == ""}
		for controller := range strings.SplitSeq(parts[1], ",") {
			if slices.Contains(used, controller) {
				h.controllers = append(h.controllers, controller)
			}
		}
		if !h.unified && len(h.controllers) == 0 {
			continue
		}
		if h.folder = mountedAt(mounts, h, parts[2]); h.folder == "" {
			continue
		}
		if h.unified {
			h.settle()
		}
		found = append(found, h)
	}
	return found
}

// mountedAt returns the folder of a group, "" if it can't be seen.
func mountedAt(mounts string, h hierarchy, path string) string {
	for line := range strings.Lines(mounts) {
		// 36 35 98:0 /root /mount/point options ... - type source superoptions
		before, after, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) < 3 {
			continue
		}
		if h.unified {
			if kind[0] != "cgroup2" {
				continue
			}
		} else if kind[0] != "cgroup" || !slices.Contains(strings.Split(kind[2], ","), h.controllers[0]) {
			continue
		}
		root, point := fields[3], unescape(fields[4])
		if root == "/" {
			return filepath.Join(point, path)
		}
		// Part of the hierarchy is mounted, as in a container.
		if below, ok := strings.CutPrefix(path+"/", root+"/"); ok {
			return filepath.Join(point, below)
		}
		return point
	}
	return ""
}

// unescape replaces the octal escapes of a path in mountinfo.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// settle finds where limited groups can be made in version 2, and which controllers they can have.
func (h *hierarchy) settle() {
	if filepath.Base(h.folder) == ownLeaf {
		h.folder = filepath.Dir(h.folder)
	}
	words := func(file string) []string {
		text, _ := os.ReadFile(filepath.Join(h.folder, file))
		return strings.Fields(string(text))
	}
	available := words("cgroup.controllers")
	enabled := words("cgroup.subtree_control")
	for _, controller := range used {
		if !slices.Contains(available, controller) {
			continue
		}
		if !slices.Contains(enabled, controller) {
			enable := func() bool { return setFile(filepath.Join(h.folder, "cgroup.subtree_control"), "+"+controller) }
			if !enable() && (!h.vacate() || !enable()) {
				continue
			}
		}
		h.controllers = append(h.controllers, controller)
	}
}

// vacate moves the worker and its supervisors out of their group into one within it, if nobody else is in it. So a
// service to which systemd has delegated its group (Delegate=yes) can have limits.
func (h *hierarchy) vacate() bool {
	text, err := os.ReadFile(filepath.Join(h.folder, "cgroup.procs"))
	if err != nil {
		return false
	}
	pids := strings.Fields(string(text))
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return false
	}
	for _, pid := range pids {
		if _, err := strconv.Atoi(pid); err != nil {
			return false
		}
		if executable, err := os.Readlink("/proc/" + pid + "/exe"); err != nil || executable != own {
			return false
		}
	}
	leaf := filepath.Join(h.folder, ownLeaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !os.IsExist(err) {
		return false
	}
	for _, pid := range pids {
		if !setFile(filepath.Join(leaf, "cgroup.procs"), pid) {
			return false
		}
	}
	return true
}
