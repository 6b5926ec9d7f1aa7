package cluster

import (
	"strconv"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/configuration"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/output"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker"
	"trellis/worker/capacity"
)

// leastMemory is how many bytes the smallest network takes in a process of its own, about.
const leastMemory = 16 << 20

// resourceFlags are the flags of a worker about programs and what they may use. The returned function reads them.
func resourceFlags(cmd *cobra.Command, config *worker.Config) (read func() error) {
	flags := cmd.Flags()
	flags.BoolVar(&config.Programs, "programs", false,
		"run programs too: whoever may submit studies runs any command as this user")
	flags.Float64Var(&config.CPUs, "cpus", 0, "number of cores that runs share (default those that the process may use)")
	memory := flags.String("memory", "", "`size` of the memory that runs share, for example 64GiB (default what the "+
		"process may use)")
	gpus := flags.String("gpus", "", "number of `GPUs` that runs share, or device= and their numbers or UUIDs, for example "+
		"device=0,2 (default those of CUDA_VISIBLE_DEVICES, or those that NVIDIA's driver has)")
	cli.LabelFlag(flags, &config.Labels, "`NAME=VALUE` that the workers: of a spec can ask for, for example "+
		"gpu=a100; can be repeated")
	flags.StringVar(&config.Study, "study", "", "take runs of this `study` alone (default those of all studies)")
	flags.StringVar(&config.Root, "machine-root", "/", "`folder` in which /proc and /sys are looked for")
	_ = flags.MarkHidden("machine-root") // For tests and containers. It fails only if there is no such flag.
	return func() error {
		if err := cli.CheckStudyFlag(cmd, config.Study); err != nil {
			return err
		}
		if configuration.Given(cmd, "cpus") && !(config.CPUs > 0) {
			return exit.Usagef("invalid argument \"%v\" for --cpus: must be above 0", config.CPUs)
		}
		if configuration.Given(cmd, "memory") {
			bytes, ok := spec.ParseSize(*memory)
			if !ok {
				return exit.Usagef("invalid argument %q for --memory: must be a size in bytes, for example 64GiB", *memory)
			}
			if bytes < leastMemory {
				return exit.Usagef("invalid argument %q for --memory: that is %s, and must be %s or more: give a size with its unit, "+
					"for example 64GiB", *memory, output.ShortBytes(bytes), output.ShortBytes(leastMemory))
			}
			config.Memory = bytes
		}
		if configuration.Given(cmd, "gpus") {
			its, err := capacity.ParseGPUs(*gpus)
			if err != nil {
				return exit.Usagef("invalid argument %q for --gpus: %w", *gpus, err)
			}
			config.GPUs = append([]*trellisv1.Gpu{}, its...)
		}
		return nil
	}
}

func yesOrNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// workerCPUs is how many cores a worker has for runs. Older versions don't say.
func workerCPUs(worker *trellisv1.Worker) string {
	if worker.GetCapacity() == nil {
		return ""
	}
	return strconv.FormatFloat(worker.GetCapacity().GetCpus(), 'g', -1, 64)
}

// workerMemory is how much memory a worker has for runs, if it knows.
func workerMemory(worker *trellisv1.Worker) string {
	if worker.GetCapacity().GetMemory() == 0 {
		return ""
	}
	return output.ShortBytes(worker.GetCapacity().GetMemory())
}

// labelsOf are a worker's labels in one line.
func labelsOf(worker *trellisv1.Worker) string { return describe.Labels(worker.GetLabels()) }

// gpuIDs are the ids of a worker's GPUs.
func gpuIDs(worker *trellisv1.Worker) (ids []string) {
	for _, gpu := range worker.GetCapacity().GetGpus() {
		ids = append(ids, gpu.GetId())
	}
	return ids
}
