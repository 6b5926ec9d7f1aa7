package capacity

import (
	"math"
	"testing"
)

func TestFree(t *testing.T) {
	const meminfo = "MemTotal:   4096 kB\nMemFree: 1 kB\nMemAvailable: 2048 kB\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  uint64
	}{
		"nothing is known":    {nil, math.MaxUint64},
		"of the machine":      {map[string]string{"proc/meminfo": meminfo}, 2 << 20},
		"of an old kernel":    {map[string]string{"proc/meminfo": "MemTotal:   4096 kB\n"}, math.MaxUint64},
		"of the group":        {group("1048576", "262144", ""), 3 << 18},
		"the group has files": {group("1048576", "786432", "anon 1\ninactive_file 524288\nactive_file 3\n"), 3 << 18},
		"the group has more":  {group("9223372036854771712", "4096", ""), 2 << 20},
		"no limit":            {group("max", "4096", ""), 2 << 20},
		"the limit is passed": {group("1048576", "1048577", ""), 0},
		"of the old group that it is in": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "4:hugetlb,memory:/slurm/job_12\n0::/\n",
			"sys/fs/cgroup/memory/slurm/job_12/memory.limit_in_bytes": "262144\n",
			"sys/fs/cgroup/memory/slurm/job_12/memory.usage_in_bytes": "196608\n",
			"sys/fs/cgroup/memory/slurm/job_12/memory.stat":           "inactive_file 1\ntotal_inactive_file 65536\n",
		}, 1 << 17},
	} {
		if test.files["sys/fs/cgroup/memory.max"] != "" {
			test.files["proc/meminfo"] = meminfo
		}
		if got := Free(machine(t, test.files)); got != test.want {
			t.Errorf("%s: %d bytes, want %d", name, got, test.want)
		}
	}
}

// group are the files of a control group's memory.
func group(limit, used, statistics string) map[string]string {
	return map[string]string{
		"sys/fs/cgroup/memory.max": limit + "\n", "sys/fs/cgroup/memory.current": used + "\n",
		"sys/fs/cgroup/memory.stat": statistics,
	}
}
