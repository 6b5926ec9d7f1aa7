package hooks

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Access, 25, Command) }

// Command is trellis hooks.
func Command(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hooks",
		Short: "Manage web hooks",
		Long: `Manage web hooks: URLs that the coordinator posts events to, as JSON that is signed as the Standard Webhooks
specification says. These events can be sent:

    study.ended   a study was completed or canceled
    run.failed    a run failed, and won't be retried by itself
    worker.lost   a worker fell silent, and its runs go to others

Each event is sent at least once, in order, also if coordinators are restarted: a receiver knows what it has by its id. What
is not accepted with a status of 2xx is sent again, later and later, for a day. See docs/hooks.md for how to receive events.`,
		Args: cli.UnknownSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(createCommand(env), listCommand(env), testCommand(env), deliveriesCommand(env), deleteCommand(env))
	return cmd
}

func listCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List web hooks",
		Long:  `List the web hooks, without their secrets.`,
		Args:  cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CallTimeout, c.ListHooks, &trellisv1.ListHooksRequest{})
			if err != nil {
				return err
			}
			list := output.NewList(env.Out, *format, "hooks", hookColumns)
			for _, h := range response.GetHooks() {
				if err := list.Add(h); err != nil {
					return err
				}
			}
			return list.Close("There are no web hooks. Create one: trellis hooks create NAME --url URL")
		})
	}
	return cmd
}

func testCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test NAME",
		Short: "Send a test event to a web hook",
		Long: `Send an event of the type hook.test to a web hook now, once, and say what the receiver has answered. It is not
listed among the deliveries.`,
		Args: cli.Operands("NAME"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			answer, err := client.Call(ctx, client.CallTimeout, c.TestHook, &trellisv1.TestHookRequest{Hook: args[0]})
			if err != nil {
				return err
			}
			took := answer.GetTook().AsDuration().Round(time.Millisecond)
			if status := answer.GetStatus(); status < 200 || status > 299 {
				return fmt.Errorf("the receiver of %s did not accept the event: %s, after %v", args[0],
					result(status, answer.GetError()), took)
			}
			_, err = fmt.Fprintf(env.Out, "The receiver of %s accepted the event: %s, after %v.\n", args[0],
				result(answer.GetStatus(), ""), took)
			return err
		})
	}
	return cmd
}

func deliveriesCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deliveries NAME",
		Short: "List what was sent to a web hook",
		Long: `List what is to be sent to a web hook, and the last 100 events that were sent or given up, newest first. JSON and
YAML have the events whole, as they are sent.`,
		Args: cli.Operands("NAME"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			list := output.NewList(env.Out, *format, "deliveries", deliveryColumns)
			if err := c.EachDelivery(ctx, args[0], list.Add); err != nil {
				return err
			}
			return list.Close("Nothing has happened yet that " + args[0] + " is told of.")
		})
	}
	return cmd
}

func deleteCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a web hook",
		Long:  `Delete a web hook. What has not been delivered yet is not delivered.`,
		Args:  cli.Operands("NAME"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			_, err := client.Call(ctx, client.CallTimeout, c.DeleteHook, &trellisv1.DeleteHookRequest{Hook: args[0]})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Out, "Deleted web hook %s.\n", args[0])
			return err
		})
	}
	return cmd
}
