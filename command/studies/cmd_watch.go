package studies

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/answer"
	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/output"
	"trellis/command/progress"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 50, WatchCommand) }

// WatchCommand is trellis watch.
func WatchCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch STUDY",
		Short: "Follow a study until it ends",
		Long: `Follow a study until it ends. Ctrl-C only stops watching: the study keeps running.

Progress is written to standard error, as a live view on a terminal and otherwise as one line per event. When the study
ends, its best configuration and a summary are written to standard output.

With -o json, each change is written to standard output as one JSON object on one line: the study, the runs that
changed, and the best trial so far.`,
		Example: `  trellis watch paper
  trellis watch paper -o json | jq -c '.study.progress'`,
		Args: cli.Operands("STUDY"),
	}
	options := cli.ClientFlags(cmd, 0)
	format := cli.FormatFlag(cmd, output.Table, output.JSON)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			if *format == output.JSON {
				return streamStudy(ctx, env, c, args[0])
			}
			return WatchStudy(ctx, env, c, args[0], env.Out)
		})
	}
	return cmd
}

// WatchStudy follows a study that lives on when we are interrupted, and writes its best and what it took to out when it
// has ended. It returns ErrIncomplete if the study ends without results for all its trials.
func WatchStudy(ctx context.Context, env *cli.Environment, c *client.Client, name string, out io.Writer) error {
	TellNoWorker(ctx, env, c, name)
	study, err := progress.Follow(ctx, env, c, name, false)
	if errors.Is(err, exit.ErrInterrupted) {
		fmt.Fprintf(env.Err, "Study %s keeps running. To follow it again: trellis watch %s%s\n", name, name,
			cli.Elsewhere(c.Address))
	}
	if err != nil {
		return err
	}
	if err := writeEnd(ctx, c, out, name); err != nil {
		return err
	}
	return Outcome(study)
}

// TellNoWorker says that a study waits for a worker, if none is connected. What else it may wait for comes with a watch.
func TellNoWorker(ctx context.Context, env *cli.Environment, c *client.Client, name string) {
	tellWaiting(ctx, env, c, name, noWorker)
}

// TellWaiting says that a study waits for a worker, if none is connected, or for something else that is missing.
func TellWaiting(ctx context.Context, env *cli.Environment, c *client.Client, name string) {
	tellWaiting(ctx, env, c, name, missing)
}

func tellWaiting(
	ctx context.Context, env *cli.Environment, c *client.Client, name string,
	waitsFor func(study *trellisv1.Study, elsewhere string) string,
) {
	response, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: name})
	if err != nil {
		return // Whoever follows the study hears of it too.
	}
	if waits := waitsFor(response.GetStudy(), cli.Elsewhere(c.Address)); waits != "" {
		fmt.Fprintf(env.Err, "Study %s waits for %s\n", name, waits)
	}
}

// writeEnd writes what a study that has ended has found, and what that took.
func writeEnd(ctx context.Context, c *client.Client, out io.Writer, name string) error {
	best, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: name})
	switch {
	case status.Code(err) == codes.NotFound:
		// It has been deleted in the meantime.
		return nil
	case client.IsUnanswered(err):
		_, err := fmt.Fprintf(out, "\n%s\n", answer.WhyNone(err, name))
		return err
	case err != nil:
		return err
	}
	fmt.Fprintln(out)
	if err := answer.WriteBest(out, best); err != nil {
		return err
	}
	return answer.WriteSummary(ctx, c, out, name, true)
}
