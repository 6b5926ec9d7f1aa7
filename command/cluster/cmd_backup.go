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

func init() { cli.Register(cli.Cluster, 50, BackupCommand) }

// BackupCommand is trellis backup.
func BackupCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Back up the coordinator's data",
		Long: `Back up the coordinator's data to FILE, or to standard output if FILE is -. The backup is a consistent
snapshot, and the coordinator keeps running. FILE is written completely or not at all;
one that exists is replaced.

A backup contains studies, trials, runs, losses, events, and tokens with their hashes but not their secrets: once it is
restored, its tokens are valid again. To restore it, use trellis restore. It does not contain checkpoints, which are in
the coordinator's --artifacts folder. Without them, unfinished runs start over.`,
		Example: `  trellis backup trellis-$(date +%F).backup`,
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	file := cli.FileFlag(cmd, "`file` to write, - for standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := file.Path(args)
		if terminal, ok := env.Out.(*os.File); path == "-" && ok && output.IsTerminalFile(terminal) {
			return exit.Usagef("cannot write a backup to a terminal: redirect standard output or give a FILE")
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return backup(ctx, env, c, path)
		})
	}
	return cmd
}

// backup writes a backup to a file, or to standard output if path is "-".
func backup(ctx context.Context, env *cli.Environment, c *client.Client, path string) error {
	answer, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
	if err != nil {
		return err
	}
	size, err := output.WriteFile(path, 0o600, env.Out, func(out io.Writer) error {
		return download(ctx, c, out)
	})
	if err != nil {
		return err
	}
	where := path
	if path == "-" {
		where = "standard output"
	}
	_, err = fmt.Fprintf(env.Err, "Wrote a backup of %s to %s. It contains everything up to index %d, or later.\n",
		output.ShortBytes(uint64(size)), where, answer.GetStatus().GetCommitIndex())
	return err
}

// download writes what the coordinator sends.
func download(ctx context.Context, c *client.Client, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Backup(ctx, &trellisv1.BackupRequest{})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := out.Write(response.GetData()); err != nil {
			return err
		}
	}
}
