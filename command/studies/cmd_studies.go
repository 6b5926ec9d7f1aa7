package studies

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
)

func init() { cli.Register(cli.Search, 30, StudiesCommand) }

// StudiesCommand is trellis studies.
func StudiesCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "studies",
		Aliases: []string{"ls", "list"},
		Short:   "List studies, oldest first",
		Args:    cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			columns := describe.StudyColumns
			if *format == output.Table {
				columns = append(slices.Clone(columns), describe.ForecastColumn(time.Now()))
			}
			list := output.NewList(env.Out, *format, "studies", columns)
			if err := c.EachStudy(ctx, list.Add); err != nil {
				return err
			}
			return list.Close("There are no studies. Submit one: trellis submit SPEC")
		})
	}
	return cmd
}
