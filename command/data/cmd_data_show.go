package data

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/output"
	"trellis/trainer/dataset"
)

func showCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a data set, and check it",
		Long: `Show a data set: how many images, of which size and which classes, their values and digest. All of it is
read and checked: what the disk has changed since it was imported is an error, which says where.

--montage writes a picture with some training images of each class, one class a row.`,
		Example: `  trellis data show fashion
  trellis data show fashion --montage fashion.png`,
		Args: cli.Operands("NAME"),
	}
	options, format := node.DataFlags(cmd), cli.OutputFlag(cmd)
	var file string
	cmd.Flags().StringVar(&file, "montage", "", "PNG `file` to write with images of each class")
	cmd.ValidArgsFunction = completeNames(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		library := options.Library()
		set, err := library.FindLocal(cmd.Context(), args[0])
		if errors.Is(err, dataset.ErrNotDownloaded) {
			set, err = library.Find(cmd.Context(), args[0])
		}
		if errors.Is(err, dataset.ErrUnknown) {
			return exit.NotFoundf("%w", err)
		}
		if err != nil {
			return err
		}
		picture := newMontage(set)
		see := picture.add
		if file == "" {
			see = nil
		}
		statistics, err := set.Survey(cmd.Context(), see)
		if err != nil {
			return err
		}
		if file != "" {
			if _, err := output.WriteFile(file, 0o644, env.Out, func(out io.Writer) error {
				return picture.write(out)
			}); err != nil {
				return err
			}
			if file == "-" {
				return nil
			}
			fmt.Fprintf(env.Err, "Wrote %s.\n", file)
		}
		return write(env.Out, *format, describeSet(set, library.Dir, statistics))
	}
	return cmd
}
