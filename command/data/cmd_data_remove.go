package data

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/trainer/dataset"
)

func removeCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an imported data set",
		Long: `Remove a data set that was imported. Results of studies stay, but runs that need it wait until it is imported again,
from the same content, under any name. A folder of IDX files that you put there yourself is yours to delete.`,
		Args: cli.Operands("NAME"),
	}
	options, confirmation := node.DataFlags(cmd), cli.ConfirmFlag(cmd, env)
	cmd.ValidArgsFunction = completeNames(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		library := options.Library()
		unknown := func() error {
			return exit.NotFoundf("there is no imported data set %s in %s: trellis data list shows which there are", args[0],
				library.Dir)
		}
		if args[0] == dataset.MNIST {
			return unknown()
		}
		folders, err := library.Available()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(folders, func(folder dataset.Folder) bool { return folder.Name == args[0] }) {
			return unknown()
		}
		if err := confirmation.Check(false, "remove deletes a data set"); err != nil {
			return err
		}
		if err := confirmation.Ask(cmd.Context(), fmt.Sprintf("Remove the data set %s in %s?", args[0], library.Dir)); err != nil {
			return err
		}
		switch err := library.Remove(args[0]); {
		case errors.Is(err, dataset.ErrUnknown):
			return unknown()
		case errors.Is(err, dataset.ErrNotImported):
			return exit.Usagef("%w: delete the folder yourself if you don't need it", err)
		case err != nil:
			return err
		}
		_, err = fmt.Fprintf(env.Out, "Data set %s removed.\n", args[0])
		return err
	}
	return cmd
}
