package answer

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Answers, 50, ImportanceCommand) }

// ImportanceCommand is trellis importance.
func ImportanceCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "importance STUDY",
		Short: "Show how much each axis of the grid matters",
		Long: `Show how much each axis of a study's grid matters: the share of the objective's variation that it explains
by itself, and together with its interactions.

For each value of an axis, the tables below show the mean and the lowest objective of all configurations with that
value.`,
		Example: `  trellis importance paper
  trellis importance paper -o csv`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CallTimeout, c.GetImportance,
				&trellisv1.GetImportanceRequest{Study: args[0]})
			if err != nil {
				return err
			}
			_, bars := output.IsTerminal(env.Out)
			return writeImportance(env.Out, *format, response.GetImportance(), bars)
		})
	}
	return cmd
}
