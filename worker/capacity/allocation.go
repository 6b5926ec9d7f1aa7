package capacity

import (
	"math"
	"slices"
	"strconv"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Allocation is what a scheduler has given to this process, by the variables of its environment. What it doesn't say is the
// zero value.
type Allocation struct {
	// Job names the scheduler's job, for example 1234 or, of an array, 1234_5.
	Job string
	// CPUs is how many cores there are, and Memory how many bytes.
	CPUs   int
	Memory uint64
	// GPUs are nil if nothing is said of them. They are those that CUDA shows to the process, with or without a scheduler, and
	// none in a job of Slurm that has asked for none.
	GPUs []*trellisv1.Gpu
}

// Allocated reads the variables of Slurm (man sbatch, man srun: OUTPUT ENVIRONMENT VARIABLES) and CUDA_VISIBLE_DEVICES. A batch
// script has the whole node's share of its job, a task of srun its part of that. get is os.LookupEnv.
func Allocated(get func(string) (string, bool)) Allocation {
	number := func(name string) uint64 {
		value, _ := get(name)
		parsed, err := strconv.ParseUint(value, 10, 40)
		if err != nil {
			return 0
		}
		return parsed
	}
	var its Allocation
	if visible, ok := get("CUDA_VISIBLE_DEVICES"); ok {
		its.GPUs = visibleGPUs(visible)
	}
	if its.Job, _ = get("SLURM_JOB_ID"); its.Job == "" {
		return its
	}
	array, _ := get("SLURM_ARRAY_JOB_ID")
	if task, ok := get("SLURM_ARRAY_TASK_ID"); ok && array != "" {
		its.Job = array + "_" + task
	}
	tasks := uint64(1)
	cpus := number("SLURM_CPUS_ON_NODE")
	if perNode, ok := get("SLURM_STEP_TASKS_PER_NODE"); ok {
		tasks = max(1, mostTasks(perNode))
		cpus /= tasks
		if each := number("SLURM_CPUS_PER_TASK"); each > 0 {
			cpus = each
		}
	}
	its.CPUs = int(min(cpus, math.MaxInt32))
	_, some := get("SLURM_GPUS_ON_NODE")
	if _, listed := get("SLURM_JOB_GPUS"); its.GPUs == nil && !some && !listed {
		its.GPUs = []*trellisv1.Gpu{} // The job has asked for none, and those of the node are others'.
	}
	const mebibyte = 1 << 20
	switch perNode, perCPU := number("SLURM_MEM_PER_NODE"), number("SLURM_MEM_PER_CPU"); {
	case perNode > 0:
		its.Memory = perNode * mebibyte / tasks
	case perCPU > 0 && cpus > 0:
		its.Memory = perCPU * cpus * mebibyte
	}
	return its
}

// mostTasks reads a list such as "2(x3),1": on three nodes two tasks each, on the last one.
func mostTasks(list string) (most uint64) {
	for part := range strings.SplitSeq(list, ",") {
		number, _, _ := strings.Cut(part, "(")
		if tasks, err := strconv.ParseUint(number, 10, 16); err == nil {
			most = max(most, tasks)
		}
	}
	return most
}

// visibleGPUs are those before the first that is none, as CUDA reads the list.
func visibleGPUs(list string) []*trellisv1.Gpu {
	found := []*trellisv1.Gpu{}
	for id := range strings.SplitSeq(list, ",") {
		id = strings.TrimSpace(id)
		if !uuidPattern.MatchString(id) && !numberPattern.MatchString(id) || len(found) == maxGPUs ||
			slices.ContainsFunc(found, func(gpu *trellisv1.Gpu) bool { return gpu.GetId() == id }) {
			break
		}
		found = append(found, &trellisv1.Gpu{Id: id})
	}
	return found
}
