package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

func (cli *commandLine) watchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch STUDY",
		Short: "Follow a study until it has ended",
		Long: `Follow a study until it has ended. Ctrl-C stops the watching only: the study goes on.

On a terminal, a live view; elsewhere, a line for what happens. Both go to standard error. Its best configuration, and what it
took, go to standard output in the end.`,
		Args: operands("STUDY"),
	}
	options := clientFlags(cmd, 0)
	cmd.ValidArgsFunction = completeStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			return cli.watchStudy(ctx, c, args[0], cli.stdout)
		})
	}
	return cmd
}

// watchStudy follows a study that lives on when we are interrupted, and writes its best and what it took to out when it has
// ended. It returns errIncomplete if the study ends without all its trials answered.
func (cli *commandLine) watchStudy(ctx context.Context, c *client, name string, out io.Writer) error {
	study, err := cli.showProgress(ctx, c, name, false)
	if errors.Is(err, errInterrupted) {
		fmt.Fprintf(cli.stderr, "Study %s goes on. Follow it again: trellis watch %s%s\n", name, name, elsewhere(c.address))
	}
	if err != nil {
		return err
	}
	if err := c.writeEnd(ctx, out, name); err != nil {
		return err
	}
	return outcomeOf(study)
}

// writeEnd writes what a study that has ended has found, and what that took.
func (c *client) writeEnd(ctx context.Context, out io.Writer, name string) error {
	best, err := call(ctx, callTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: name})
	switch {
	case isUnanswered(err), status.Code(err) == codes.NotFound:
		// Nothing has been found, or it has been deleted in the meantime.
		return nil
	case err != nil:
		return err
	}
	fmt.Fprintln(out)
	if err := writeBest(out, best); err != nil {
		return err
	}
	return c.writeSummary(ctx, out, name)
}

// showProgress follows a study to its end: in place on a terminal, in lines elsewhere or if inLines is true.
func (cli *commandLine) showProgress(
	ctx context.Context, c *client, name string, inLines bool,
) (*trellisv1.Study, error) {
	var view progressView = newLineView(cli.stderr, time.Now)
	if terminal, ok := isTerminal(cli.stderr); ok && !inLines {
		view = newLiveView(terminal)
	}
	study, err := c.follow(ctx, name, view)
	return study, errors.Join(err, view.Close())
}

// elsewhere is the flag that a command needs to find a coordinator that is not at the usual address.
func elsewhere(address string) string {
	if address == DefaultAddress {
		return ""
	}
	return " --coordinator " + address
}

// redirectNotices has the client's notices written to out until restore is called.
func (c *client) redirectNotices(out io.Writer) (restore func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.notices
	c.notices = out
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.notices = before
	}
}
