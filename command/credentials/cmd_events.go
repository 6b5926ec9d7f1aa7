package credentials

import (
	"context"
	"slices"
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
A coordinator without authentication knows no names: it writes - for them.

With --follow, the last 10 changes are listed, the newest last, and then new ones as they happen, until Ctrl-C. -o json then
writes one JSON object per line.`,
		Example: `  trellis events --limit 20
  trellis events --follow -o json | jq -c 'select(.method == "DeleteStudy")'`,
		Args: cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	limit := cmd.Flags().Uint64("limit", 0, "list the newest ones only (default all; with --follow, 10)")
	follow := cmd.Flags().BoolP("follow", "f", false, "wait for new ones, until Ctrl-C")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			if *follow {
				if !cmd.Flags().Changed("limit") {
					*limit = followedEvents
				}
				return followEvents(ctx, c, *limit, output.NewFeed(env.Out, *format, "events", eventColumns))
			}
			list := output.NewList(env.Out, *format, "events", eventColumns)
			if err := c.EachEvent(ctx, *limit, list.Add); err != nil {
				return err
			}
			return list.Close("Nobody has changed anything yet.")
		})
	}
	return cmd
}

// followedEvents is how many events that have happened are listed before those that happen.
const followedEvents = 10

// followEvents writes the last events, at most limit if that is not 0, and those that happen from then on.
func followEvents(ctx context.Context, c *client.Client, limit uint64, feed *output.Feed[*trellisv1.Event]) error {
	var last []*trellisv1.Event
	if err := c.EachEvent(ctx, limit, func(event *trellisv1.Event) error {
		last = append(last, event)
		return nil
	}); err != nil {
		return err
	}
	slices.Reverse(last)
	if err := feed.Add(last...); err != nil {
		return err
	}
	var number uint64
	if len(last) > 0 {
		number = last[len(last)-1].GetNumber()
	}
	return c.FollowEvents(ctx, number, func(events []*trellisv1.Event) error { return feed.Add(events...) })
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
