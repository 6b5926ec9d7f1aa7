package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

func init() { cli.Register(cli.Answers, 80, LogsCommand) }

// logsOptions are the flags of logs.
type logsOptions struct {
	follow  bool
	attempt uint64
}

// LogsCommand is trellis logs.
func LogsCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs STUDY TRIAL",
		Short: "Show what a trial's program writes",
		Long: `Show what the program of a trial's run has written to its standard output and standard error: in its last attempt,
or in the one given by --attempt. While it runs, the output comes from its worker.

Of each attempt, the first and the last 4 MiB are kept until its study is deleted. What an attempt wrote whose worker was
lost is lost with it.`,
		Example: `  trellis logs cifar 17
  trellis logs cifar 17 --follow`,
		Args: cli.Operands("STUDY", "TRIAL"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	its := new(logsOptions)
	cmd.Flags().BoolVarP(&its.follow, "follow", "f", false, "wait for more, until the run ends")
	cmd.Flags().Uint64Var(&its.attempt, "attempt", 0, "`number` of the attempt (default the last one)")
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		index, err := parseTrial(args[1])
		if err != nil {
			return err
		}
		all := !configuration.Given(cmd, "attempt")
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return showLogs(ctx, env, c, args[0], index, its, all)
		})
	}
	return cmd
}

// nextAttemptPause is how long logs waits until it looks for the next attempt.
const nextAttemptPause = 500 * time.Millisecond

// showLogs writes the output of an attempt. all says that it goes on with the attempts that follow, if it follows at all.
func showLogs(
	ctx context.Context, env *cli.Environment, c *client.Client, study string, index uint64, options *logsOptions, all bool,
) error {
	_, response, err := findTrial(ctx, c, study, index)
	if err != nil {
		return err
	}
	if response.GetConfig().GetProgram() == nil {
		return fmt.Errorf("trial %d has no output: its study trains the model %s, and only programs have output", index,
			response.GetConfig().GetModel())
	}
	for shown := new(shownOutput); ; {
		run := response.GetRun()
		ended := lifecycle.RunEnded(run.GetState())
		attempt := options.attempt
		if all {
			attempt = 0
		}
		err := shown.copy(ctx, env, c, &trellisv1.GetOutputRequest{
			Study: study, Run: run.GetId(), Attempt: attempt, Follow: options.follow,
		})
		// The coordinator may restart, the next attempt may have no output yet, and the worker of the last may be lost.
		waits := status.Code(err) == codes.NotFound || client.BreaksOff(err)
		if err != nil && !(options.follow && waits) {
			return describeAttempts(describeSource(ctx, c, err, run), run)
		}
		switch {
		case !options.follow, err == nil && !all:
			return nil
		case ended, !all && run.GetAttempt() != options.attempt:
			// What is not there now will never be.
			if status.Code(err) == codes.NotFound && (all || shown.attempt > 0) {
				err = nil
			}
			return describeAttempts(err, run)
		}
		select {
		case <-time.After(nextAttemptPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if response, err = client.Call(ctx, client.CallTimeout, c.GetRun,
			&trellisv1.GetRunRequest{Study: study, Run: run.GetId()}); err != nil {
			return err
		}
	}
}

// shownOutput is what has been shown of an attempt: so many bytes, or all of it.
type shownOutput struct {
	attempt, bytes uint64
	whole          bool
	// announce says that it follows the output of another attempt, and nothing of it has been shown.
	announce bool
}

// copy writes the output of an attempt, from where it broke off if it has been shown in part.
func (s *shownOutput) copy(
	ctx context.Context, env *cli.Environment, c *client.Client, request *trellisv1.GetOutputRequest,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.GetOutput(ctx, request)
	if err != nil {
		return err
	}
	// at is how many bytes of the output have come.
	for at := uint64(0); ; {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			s.whole = true
			return nil
		}
		if err != nil {
			return err
		}
		if attempt := response.GetAttempt(); attempt != s.attempt {
			*s = shownOutput{attempt: attempt, announce: s.announce || s.bytes > 0}
		} else if s.whole {
			return nil
		}
		if err := s.write(env, &at, response); err != nil {
			return err
		}
	}
}

// write writes what has not been shown of a response, which begins at a place of the output.
func (s *shownOutput) write(env *cli.Environment, at *uint64, response *trellisv1.GetOutputResponse) error {
	*at += response.GetOmitted()
	if *at > s.bytes {
		fmt.Fprintf(env.Err, "(%s left out)\n", output.ShortBytes(*at-s.bytes))
		s.bytes = *at
	}
	data := response.GetData()
	known := min(s.bytes-*at, uint64(len(data)))
	*at += uint64(len(data))
	if data = data[known:]; len(data) == 0 {
		return nil
	}
	s.bytes = *at
	if s.announce {
		s.announce = false
		fmt.Fprintf(env.Err, "Attempt %d:\n", s.attempt)
	}
	// A program may be another's, whose output must not rule the terminal.
	_, err := output.Printable(env.Out).Write(data)
	return err
}

// describeSource says which study has trained a run that is not of its own study, and has its output.
func describeSource(ctx context.Context, c *client.Client, err error, run *trellisv1.Run) error {
	from := run.GetSharedFrom()
	if status.Code(err) != codes.NotFound || from == "" || run.GetSharedEpochs() < run.GetEpochs() {
		return err
	}
	source, sourceErr := client.Call(ctx, client.CallTimeout, c.GetRun,
		&trellisv1.GetRunRequest{Study: from, Run: run.GetId()})
	if sourceErr != nil {
		return status.Errorf(codes.NotFound, "there is no output: the run was trained by study %s, which has been deleted",
			from)
	}
	return status.Errorf(codes.NotFound, "there is no output in this study: the run was trained by study %s. To see what it "+
		"wrote there: trellis logs %s %d", from, from, source.GetRun().GetFirstTrial())
}

// describeAttempts adds to an error which attempts have output.
func describeAttempts(err error, run *trellisv1.Run) error {
	if status.Code(err) != codes.NotFound || len(run.GetOutputs()) == 0 {
		return err
	}
	var attempts []string
	for _, kept := range slices.Backward(run.GetOutputs()) {
		attempts = append(attempts, fmt.Sprintf("%d (worker %s)", kept.GetAttempt(), kept.GetWorker()))
	}
	return fmt.Errorf("%w; there is output of %s", err, output.Enumerate(attempts))
}
