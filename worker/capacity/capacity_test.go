package capacity

import (
	"os"
	"path/filepath"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// machine writes files of a machine, by their paths, and returns its root.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func ids(gpus []*trellisv1.Gpu) (ids []string) {
	for _, gpu := range gpus {
		ids = append(ids, gpu.GetId())
	}
	return ids
}

func TestGPUsOfTheDriver(t *testing.T) {
	const information = "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 213\nGPU UUID: \t "
	root := machine(t, map[string]string{
		"proc/driver/nvidia/gpus/0000:07:00.0/information": information +
			"GPU-2f1a9a5e-0000-1111-2222-333344445555\nDevice Minor: \t 0\nGPU Excluded:\t No\n",
		"proc/driver/nvidia/gpus/0000:0f:00.0/information": information +
			"GPU-????????-????-????-????-????????????\nDevice Minor: \t 1\nGPU Excluded:\t No\n",
		"proc/driver/nvidia/gpus/0000:47:00.0/information": information + "\nDevice Minor: \t 2\nGPU Excluded:\t Yes\n",
	})
	its := Of(t.Context(), root)
	got := ids(its.GetGpus())
	if len(got) != 2 || got[0] != "GPU-2f1a9a5e-0000-1111-2222-333344445555" || got[1] != "1" {
		t.Errorf("the GPUs are %q", got)
	}
	if model := its.GetGpus()[0].GetModel(); model != "NVIDIA A100-SXM4-40GB" {
		t.Errorf("the first is a %q", model)
	}
}

func TestGPUsOfTheTool(t *testing.T) {
	got := parseListing([]byte("GPU 0: NVIDIA A100 (UUID: GPU-aa-bb)\n  MIG 1g.5gb Device 0: (UUID: MIG-cc)\n" +
		"GPU 1: Tesla T4 (UUID: none)\n"))
	if names := ids(got); len(names) != 2 || names[0] != "GPU-aa-bb" || names[1] != "1" || got[1].GetModel() != "Tesla T4" {
		t.Errorf("the GPUs are %v", got)
	}
}

func TestMemory(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  uint64
	}{
		"nothing is known": {nil, 0},
		"of the machine":   {map[string]string{"proc/meminfo": "MemTotal:   2048 kB\nMemFree: 1 kB\n"}, 2 << 20},
		"of the group": {map[string]string{
			"proc/meminfo": "MemTotal:   2048 kB\n", "sys/fs/cgroup/memory.max": "1048576\n",
		}, 1 << 20},
		"a group without a limit": {map[string]string{
			"proc/meminfo": "MemTotal:   2048 kB\n", "sys/fs/cgroup/memory.max": "max\n",
		}, 2 << 20},
		"of the group that it is in": {map[string]string{
			"proc/meminfo": "MemTotal:   2048 kB\n", "proc/self/cgroup": "0::/jobs/12\n",
			"sys/fs/cgroup/jobs/12/memory.max": "max\n", "sys/fs/cgroup/jobs/memory.max": "524288\n",
		}, 1 << 19},
		"of the old group that it is in": {map[string]string{
			"proc/meminfo": "MemTotal:   2048 kB\n", "proc/self/cgroup": "5:devices:/a\n4:hugetlb,memory:/slurm/job_12\n0::/\n",
			"sys/fs/cgroup/memory/slurm/job_12/memory.limit_in_bytes": "262144\n",
		}, 1 << 18},
		"of no group that it sees": {map[string]string{
			"proc/meminfo": "MemTotal:   2048 kB\n", "proc/self/cgroup": "0::/../../other\n", "sys/fs/cgroup/memory.max": "1048576\n",
		}, 1 << 20},
		"an old group without a limit": {map[string]string{
			"proc/meminfo": "MemTotal:   2048 kB\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 2 << 20},
	} {
		if got := memory(machine(t, test.files)); got != test.want {
			t.Errorf("%s: %d bytes, want %d", name, got, test.want)
		}
	}
}

func TestParseGPUs(t *testing.T) {
	for value, want := range map[string]int{
		"0": 0, "2": 2, "device=0,2": 2, "device=GPU-ab-12": 1, "1024": 1024,
		"": -1, "-1": -1, "1025": -1, "all": -1, "device=": -1, "device=0,0": -1, "device=0;ls": -1, "0,1": -1,
	} {
		got, err := ParseGPUs(value)
		if (err != nil) != (want < 0) || err == nil && len(got) != want {
			t.Errorf("ParseGPUs(%q) is %v, %v", value, got, err)
		}
	}
}
