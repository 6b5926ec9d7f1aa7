package cluster

import (
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/trainer/kernel"
)

// kernelFlag adds --kernel. What it returns is to be called before anything is trained.
func kernelFlag(cmd *cobra.Command) (choose func() error) {
	path := cmd.Flags().String("kernel", "",
		"`implementation` of the trainer's arithmetic: avx512, avx2 or portable, all with the same results (default "+
			"the fastest)")
	cli.Complete(cmd, "kernel", kernel.Paths()...)
	return func() error {
		if *path == "" {
			return nil
		}
		if err := kernel.SetPath(*path); err != nil {
			return exit.Usagef("invalid argument %q for --kernel: must be one that this processor has: %s", *path,
				strings.Join(kernel.Paths(), ", "))
		}
		return nil
	}
}
