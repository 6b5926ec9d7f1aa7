package data

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/trainer/dataset"
)

func init() { cli.Register(cli.Search, 90, Command) }

// Command is trellis data.
func Command(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data",
		Short: "Manage data sets",
		Long: `Manage the data sets that specs name, for example data: fashion. MNIST comes with Trellis; others are
imported.

These commands work on a folder of this machine, --data-sets. A coordinator with the same folder serves its data
sets to workers, which need nothing. It finds new ones without a restart. If your coordinator runs on another machine,
import there, or in a folder that both see. Each coordinator of a cluster needs the same data sets.`,
		Example: `  trellis data import fashion ~/Downloads/fashion
  trellis data show fashion --montage fashion.png
  trellis run fashion.yaml`,
		Args: cli.UnknownSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(importCommand(env), listCommand(env), showCommand(env), removeCommand(env))
	return cmd
}

// completeNames completes a command's only argument with the names of data sets.
func completeNames(options *node.DataOptions) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
		library := options.Library()
		if folders, err := library.Available(); err == nil && len(args) == 0 {
			for _, folder := range folders {
				names = append(names, folder.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// explain gives an error of an import the exit code of what the person at the keyboard can mend.
func explain(err error) error {
	for _, mistake := range []error{dataset.ErrInvalid, dataset.ErrTooLarge, fs.ErrNotExist} {
		if errors.Is(err, mistake) {
			return exit.Usagef("%w", err)
		}
	}
	return err
}
