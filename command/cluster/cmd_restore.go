package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// restoreChunk is how much of a backup one message carries, in bytes.
const restoreChunk = 256 << 10

func init() { cli.Register(cli.Cluster, 60, RestoreCommand) }

// RestoreCommand is trellis restore.
func RestoreCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore the coordinator's data from a backup",
		Long: `Replace the coordinator's data with a backup, read from FILE, or from standard input if FILE is -.

Data recorded after the backup is lost, and workers stop runs that are not in the backup. A backup that is damaged or
from a newer version is refused and changes nothing. In a cluster, all nodes are restored.

Web hooks are restored too, and are told of what happens from then on. In a drill, delete them first of all: trellis
hooks delete NAME.

On a terminal, restore asks for confirmation first. Elsewhere it needs --yes.`,
		Example: `  trellis restore trellis-2026-11-28.backup
  trellis restore --yes trellis-2026-11-28.backup`,
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	confirm := cli.ConfirmFlag(cmd, env)
	file := cli.FileFlag(cmd, "`file` to read, - for standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, path := env.In, file.Path(args)
		if path != "-" {
			file, err := os.Open(path)
			if err != nil {
				return exit.Usagef("cannot read the backup: %w", err)
			}
			defer file.Close()
			in = file
		}
		if err := confirm.Check(path == "-", "restore replaces all data of the coordinator"); err != nil {
			return err
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return restore(ctx, env, c, in, confirm)
		})
	}
	return cmd
}

// restore sends a backup to the coordinator, after asking.
func restore(
	ctx context.Context, env *cli.Environment, c *client.Client, in io.Reader, confirm *cli.Confirmation,
) error {
	before, err := describeStudies(ctx, c)
	if err != nil {
		return err
	}
	question := fmt.Sprintf("This replaces all data of the coordinator at %s: %s. Continue?", c.Address, before)
	if err := confirm.Ask(ctx, question); err != nil {
		return err
	}
	if err := upload(ctx, c, in); err != nil {
		return err
	}
	after, err := describeStudies(ctx, c)
	if err != nil {
		return fmt.Errorf("the backup was restored, but its studies cannot be listed: %w", err)
	}
	if _, err := fmt.Fprintf(env.Err, "Restored: the coordinator now has %s instead of %s.\n", after, before); err != nil {
		return err
	}
	tellHooks(ctx, env, c)
	return nil
}

// tellHooks says which web hooks a backup has brought along: in a drill, they would raise false alarms.
func tellHooks(ctx context.Context, env *cli.Environment, c *client.Client) {
	response, err := client.Call(ctx, client.CallTimeout, c.ListHooks, &trellisv1.ListHooksRequest{})
	if err != nil {
		return // It is restored all the same.
	}
	var active []string
	for _, hook := range response.GetHooks() {
		if hook.GetDisableTime() == nil {
			active = append(active, hook.GetName())
		}
	}
	if len(active) == 0 {
		return
	}
	fmt.Fprintf(env.Err, "Its web hooks are active and get events from here: %s. In a drill, delete each: trellis hooks delete %s%s\n",
		output.Enumerate(active), active[0], cli.Elsewhere(c.Address))
}

// upload sends a backup.
func upload(ctx context.Context, c *client.Client, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Restore(ctx)
	if err != nil {
		return err
	}
	chunk := make([]byte, restoreChunk)
	for {
		n, err := io.ReadFull(in, chunk)
		if n > 0 {
			if err := stream.Send(&trellisv1.RestoreRequest{Data: chunk[:n]}); err != nil {
				// What was wrong is in the response.
				break
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

// describeStudies says how much a coordinator has.
func describeStudies(ctx context.Context, c *client.Client) (string, error) {
	var studies, trials uint64
	err := c.EachStudy(ctx, func(study *trellisv1.Study) error {
		studies++
		trials += study.GetProgress().GetTrials()
		return nil
	})
	if err != nil {
		return "", err
	}
	if studies == 0 {
		return "no studies", nil
	}
	return fmt.Sprintf("%s with %s", output.Count(studies, "study"), output.Count(trials, "trial")), nil
}
