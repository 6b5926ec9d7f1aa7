package answer

import (
	"github.com/spf13/cobra"

	"trellis/command/cli"
)

func init() { cli.Register(cli.Answers, 70, ModelCommand) }

// ModelCommand is trellis model.
func ModelCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Work with trained models",
		Args:  cli.UnknownSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(modelGetCommand(env))
	return cmd
}
