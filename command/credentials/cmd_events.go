package credentials

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Access, 30, EventsCommand) }

// EventsCommand is trellis events.
func EventsCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List who changed what",
		Long: `List who changed what, when and from which host, newest first. The coordinator keeps the last 10,000 changes.
A coordinator without authentication knows no names: it writes - for them.`,
		Args: cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	limit := cmd.Flags().Uint64("limit", 0, "list the newest ones only (default all)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			list := output.NewList(env.Out, *format, "events", eventColumns)
			if err := c.EachEvent(ctx, *limit, list.Add); err != nil {
				return err
			}
			return list.Close("Nobody has changed anything yet.")
		})
	}
	return cmd
}

var eventColumns = []output.Column[*trellisv1.Event]{
	{
		Name: "time", Plain: func(e *trellisv1.Event) string { return output.PlainTime(e.GetTime()) },
		Short: func(e *trellisv1.Event) string { return output.ShortTime(e.GetTime()) },
	},
	output.Both("principal", func(e *trellisv1.Event) string { return describe.Principal(e.GetPrincipal()) }),
	output.Both("address", (*trellisv1.Event).GetAddress),
	output.Both("method", (*trellisv1.Event).GetMethod),
	output.Both("subject", (*trellisv1.Event).GetSubject),
	{Name: "index", Plain: func(e *trellisv1.Event) string { return strconv.FormatUint(e.GetIndex(), 10) }},
}
