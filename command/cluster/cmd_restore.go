package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// restoreChunk is how much of a backup one message carries, in bytes.
const restoreChunk = 256 << 10

// RestoreCommand is trellis restore.
func RestoreCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Replace all that the coordinator has recorded by a backup",
		Long: `Replace all that the coordinator has recorded by a backup: FILE, or standard input if FILE is -. What has
been recorded since the backup was made is forgotten, and workers stop the runs that it does not know. A backup that is
damaged or of a newer version changes nothing. In a cluster, all nodes get it.

It asks first, on a terminal. Elsewhere, --yes says that this is what you want.`,
		Args: cli.Operands("FILE"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	var yes bool
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := env.In
		if args[0] != "-" {
			file, err := os.Open(args[0])
			if err != nil {
				return exit.Usagef("cannot read the backup: %w", err)
			}
			defer file.Close()
			in = file
		}
		keyboard, ok := env.In.(*os.File)
		if !yes && (args[0] == "-" || !ok || !output.IsTerminalFile(keyboard)) {
			return exit.Usagef("restore replaces all that the coordinator has recorded, and cannot ask here whether " +
				"you want " +
				"that: add --yes")
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return restore(ctx, env, c, in, yes)
		})
	}
	return cmd
}

// restore sends a backup to the coordinator, after asking unless yes.
func restore(ctx context.Context, env *cli.Environment, c *client.Client, in io.Reader, yes bool) error {
	before, err := describeStudies(ctx, c)
	if err != nil {
		return err
	}
	if !yes {
		fmt.Fprintf(env.Err, "This replaces all that the coordinator at %s has recorded: %s. Go on? [y/N] ", c.Address,
			before)
		agreed, err := ask(ctx, env)
		if err != nil {
			return err
		}
		if !agreed {
			return errors.New("nothing was changed")
		}
	}
	if err := upload(ctx, c, in); err != nil {
		return err
	}
	after, err := describeStudies(ctx, c)
	if err != nil {
		return fmt.Errorf("the backup is restored, but the coordinator does not say what it has now: %w", err)
	}
	_, err = fmt.Fprintf(env.Err, "Restored: the coordinator has %s now, instead of %s.\n", after, before)
	return err
}

// ask reads an answer from the keyboard. Anything but a yes is a no.
func ask(ctx context.Context, env *cli.Environment) (bool, error) {
	lines := make(chan string, 1)
	go func() {
		// This outlives an interruption, since a read can't be ended: the process ends soon.
		line, _ := bufio.NewReader(env.In).ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true, nil
		}
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
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
