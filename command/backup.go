package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
)

// restoreChunk is how much of a backup one message carries, in bytes.
const restoreChunk = 256 << 10

func (cli *commandLine) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all that the coordinator has recorded to a file, while it goes on",
		Long: `Write all that the coordinator has recorded, as of one moment, to FILE, or to standard output if FILE is -. The
coordinator goes on meanwhile. FILE is written whole or not at all.

A backup has studies, trials, runs and losses; trellis restore brings them back. Checkpoints are not part of it: they lie
in the coordinator's --artifacts. Without them, runs that were under way begin again.`,
		Example: `  trellis backup trellis-$(date +%F).backup`,
		Args:    operands("FILE"),
	}
	options := clientFlags(cmd, DefaultWait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if terminal, ok := cli.stdout.(*os.File); args[0] == "-" && ok && isTerminalFile(terminal) {
			return usageErrorf("a backup is nothing to read: send standard output to a file, or give a FILE")
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			return cli.backup(ctx, c, args[0])
		})
	}
	return cmd
}

// backup writes a backup to a file, or to standard output if path is "-".
func (cli *commandLine) backup(ctx context.Context, c *client, path string) error {
	answer, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
	if err != nil {
		return err
	}
	size, err := writeOutput(path, 0o600, cli.stdout, func(out io.Writer) error {
		return c.backup(ctx, out)
	})
	if err != nil {
		return err
	}
	where := path
	if path == "-" {
		where = "standard output"
	}
	_, err = fmt.Fprintf(cli.stderr, "Wrote a backup of %s to %s. It has all that was recorded up to index %d, or later.\n",
		shortBytes(uint64(size)), where, answer.GetStatus().GetCommitIndex())
	return err
}

// backup writes what the coordinator sends.
func (c *client) backup(ctx context.Context, out io.Writer) error {
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

func (cli *commandLine) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Replace all that the coordinator has recorded by a backup",
		Long: `Replace all that the coordinator has recorded by a backup: FILE, or standard input if FILE is -. What has been
recorded since the backup was made is forgotten, and workers stop the runs that it does not know. A backup that is damaged
or of a newer version changes nothing. In a cluster, all nodes get it.

It asks first, on a terminal. Elsewhere, --yes says that this is what you want.`,
		Args: operands("FILE"),
	}
	options := clientFlags(cmd, DefaultWait)
	var yes bool
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := cli.stdin
		if args[0] != "-" {
			file, err := os.Open(args[0])
			if err != nil {
				return usageErrorf("cannot read the backup: %w", err)
			}
			defer file.Close()
			in = file
		}
		keyboard, ok := cli.stdin.(*os.File)
		if !yes && (args[0] == "-" || !ok || !isTerminalFile(keyboard)) {
			return usageErrorf("restore replaces all that the coordinator has recorded, and cannot ask here whether you want " +
				"that: add --yes")
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			return cli.restore(ctx, c, in, yes)
		})
	}
	return cmd
}

// restore sends a backup to the coordinator, after asking unless yes.
func (cli *commandLine) restore(ctx context.Context, c *client, in io.Reader, yes bool) error {
	before, err := c.describeStudies(ctx)
	if err != nil {
		return err
	}
	if !yes {
		fmt.Fprintf(cli.stderr, "This replaces all that the coordinator at %s has recorded: %s. Go on? [y/N] ", c.address, before)
		agreed, err := cli.ask(ctx)
		if err != nil {
			return err
		}
		if !agreed {
			return errors.New("nothing was changed")
		}
	}
	if err := c.restore(ctx, in); err != nil {
		return err
	}
	after, err := c.describeStudies(ctx)
	if err != nil {
		return fmt.Errorf("the backup is restored, but the coordinator does not say what it has now: %w", err)
	}
	_, err = fmt.Fprintf(cli.stderr, "Restored: the coordinator has %s now, instead of %s.\n", after, before)
	return err
}

// ask reads an answer from the keyboard. Anything but a yes is a no.
func (cli *commandLine) ask(ctx context.Context) (bool, error) {
	lines := make(chan string, 1)
	go func() {
		// This outlives an interruption, since a read can't be ended: the process ends soon.
		line, _ := bufio.NewReader(cli.stdin).ReadString('\n')
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

// restore sends a backup.
func (c *client) restore(ctx context.Context, in io.Reader) error {
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
func (c *client) describeStudies(ctx context.Context) (string, error) {
	var studies, trials uint64
	err := c.eachStudy(ctx, func(study *trellisv1.Study) error {
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
	return fmt.Sprintf("%s with %s", count(studies, "study"), count(trials, "trial")), nil
}
