package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseHierarchies(t *testing.T) {
	const (
		memory  = "36 25 0:31 / /sys/fs/cgroup/memory rw,relatime shared:15 - cgroup cgroup rw,memory\n"
		cpu     = "37 25 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
		unified = "35 25 0:30 / /sys/fs/cgroup/unified rw,relatime shared:14 - cgroup2 cgroup2 rw\n"
	)
	for _, test := range []struct{ name, mounts, membership, want string }{
		{
			"version 1", memory + cpu + unified, "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/\n",
			"[memory] /sys/fs/cgroup/memory/a/b, [cpu] /sys/fs/cgroup/cpu,cpuacct, v2 [] /sys/fs/cgroup/unified",
		},
		{
			"version 2", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user.slice/x\n",
			"v2 [] /sys/fs/cgroup/user.slice/x",
		},
		{
			"a container's part", "36 25 0:31 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			"4:memory:/docker/1/sub\n", "[memory] /sys/fs/cgroup/memory/sub",
		},
		{
			"a container's root", "36 25 0:31 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			"4:memory:/\n", "[memory] /sys/fs/cgroup/memory",
		},
		{
			"spaces", `36 25 0:31 / /my\040groups rw - cgroup cgroup rw,memory`, "4:memory:/a b:c\n",
			"[memory] /my groups/a b:c",
		},
		{"not mounted", cpu, "4:memory:/\n0::/\n", ""},
		{"nonsense", "x\n\n - \n", "nonsense\n\n4:memory\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, h := range parseHierarchies(test.mounts, test.membership) {
				text := fmt.Sprintf("%v %s", h.controllers, h.folder)
				if h.unified {
					text = "v2 " + text
				}
				got = append(got, text)
			}
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// The files of version 2, which tests can rarely mount.
func TestLimitsOfVersion2(t *testing.T) {
	folder := t.TempDir()
	for _, file := range []string{"memory.max", "memory.swap.max", "memory.oom.group", "cpu.max"} {
		if err := os.WriteFile(filepath.Join(folder, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := group{hierarchy: hierarchy{unified: true}, folder: folder}
	command := &Command{Memory: 1 << 20, CPUs: 1.5, Processes: 10}
	if !g.limit("memory", command) || !g.limit("cpu", command) {
		t.Error("limits are not set")
	}
	if g.limit("pids", command) {
		t.Error("a limit is said to be set although there is no file for it")
	}
	for file, want := range map[string]string{
		"memory.max": "1048576", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.max": "150000 100000",
	} {
		if got, err := os.ReadFile(filepath.Join(folder, file)); err != nil || string(got) != want {
			t.Errorf("%s: got %q (%v), want %q", file, got, err, want)
		}
	}
	g.limits = []string{"memory"}
	all := groups{all: []group{g}}
	for file, content := range map[string]string{
		"memory.events": "max 3\noom 1\noom_kill 1\n", "memory.peak": "1048570\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !all.outOfMemory() || all.peak() != 1048570 {
		t.Errorf("out of memory: %t, peak %d", all.outOfMemory(), all.peak())
	}
}
