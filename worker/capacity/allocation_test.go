package capacity

import (
	"slices"
	"strings"
	"testing"
)

func TestAllocated(t *testing.T) {
	for _, test := range []struct {
		name, variables string
		job             string
		cpus            int
		memory          uint64
		gpus            []string
		noneSaid        bool
	}{
		{name: "no scheduler", noneSaid: true},
		{
			name:      "a batch script",
			variables: "SLURM_JOB_ID=12 SLURM_CPUS_ON_NODE=8 SLURM_CPUS_PER_TASK=2 SLURM_MEM_PER_NODE=4096",
			job:       "12", cpus: 8, memory: 4 << 30,
		},
		{
			name: "a task of an array with GPUs",
			variables: "SLURM_JOB_ID=14 SLURM_ARRAY_JOB_ID=12 SLURM_ARRAY_TASK_ID=3 SLURM_CPUS_ON_NODE=4 SLURM_MEM_PER_CPU=1000 " +
				"CUDA_VISIBLE_DEVICES=0,3",
			job: "12_3", cpus: 4, memory: 4000 << 20, gpus: []string{"0", "3"},
		},
		{
			name: "one of several tasks of srun",
			variables: "SLURM_JOB_ID=12 SLURM_CPUS_ON_NODE=9 SLURM_STEP_TASKS_PER_NODE=1,2(x3) SLURM_MEM_PER_NODE=1000 " +
				"CUDA_VISIBLE_DEVICES=",
			job: "12", cpus: 4, memory: 500 << 20,
		},
		{
			name:      "with cores for each task",
			variables: "SLURM_JOB_ID=12 SLURM_CPUS_ON_NODE=9 SLURM_CPUS_PER_TASK=3 SLURM_STEP_TASKS_PER_NODE=2 SLURM_MEM_PER_CPU=100",
			job:       "12", cpus: 3, memory: 300 << 20,
		},
		{
			name:      "with GPUs that CUDA is not told of",
			variables: "SLURM_JOB_ID=12 SLURM_GPUS_ON_NODE=2",
			job:       "12", noneSaid: true,
		},
		{
			name:      "part of a GPU, one twice",
			variables: "CUDA_VISIBLE_DEVICES=MIG-GPU-8f-2a/1/0,1,1,2",
			gpus:      []string{"MIG-GPU-8f-2a/1/0", "1"},
		},
		{
			name:      "all the memory of the node, and what is no number",
			variables: "SLURM_JOB_ID=12 SLURM_CPUS_ON_NODE=many SLURM_MEM_PER_NODE=0 CUDA_VISIBLE_DEVICES=GPU-8f,-1,2",
			job:       "12", gpus: []string{"GPU-8f"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Allocated(func(name string) (string, bool) {
				for _, variable := range strings.Fields(test.variables) {
					if its, value, _ := strings.Cut(variable, "="); its == name {
						return value, true
					}
				}
				return "", false
			})
			if got.Job != test.job || got.CPUs != test.cpus || got.Memory != test.memory {
				t.Errorf("job %q with %d cores and %d bytes, want %q with %d and %d", got.Job, got.CPUs, got.Memory, test.job,
					test.cpus, test.memory)
			}
			if (got.GPUs == nil) != test.noneSaid || !slices.Equal(ids(got.GPUs), test.gpus) {
				t.Errorf("GPUs %v, want %v", ids(got.GPUs), test.gpus)
			}
		})
	}
}
