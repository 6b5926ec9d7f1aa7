package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// createTries is how often a study is submitted while the coordinator goes away before it has answered, and createPause
	// the pause in between: together, longer than a cluster takes to elect a leader.
	createTries = 8
	createPause = 500 * time.Millisecond
)

func (cli *commandLine) submitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "submit SPEC",
		Short: "Hand a study to the coordinator; print its id",
		Long: `Hand a study to the coordinator, which checks it and spreads its runs over the workers. Prints the study's
id, which is its name. A SPEC of - is read from standard input.

With --dry-run, nothing is submitted: the spec is checked here, and what it would cost is estimated by training on
random images on this machine for a moment.`,
		Example: `  trellis submit examples/synthetic.yaml
  trellis submit --watch examples/paper.yaml
  trellis submit --dry-run --slots 32 examples/paper.yaml`,
		Args:              operands("SPEC"),
		ValidArgsFunction: completeSpecs,
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	data := dataFlags(cmd)
	var dryRun, watch bool
	var slots int
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what the study would cost, and submit nothing")
	cmd.Flags().IntVar(&slots, "slots", 0,
		"with --dry-run: runs that are trained side by side (default one per core here)")
	cmd.Flags().BoolVar(&watch, "watch", false, "follow the study until it has ended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, flag := range []string{"slots", "data-sets", "cache-dir"} {
			if cmd.Flags().Changed(flag) && !dryRun {
				return usageErrorf("--%s belongs to --dry-run: a study is trained on the slots that the workers have, with the "+
					"data sets that the coordinator has", flag)
			}
		}
		if dryRun && watch {
			return usageErrorf("with --dry-run nothing is submitted that --watch could follow")
		}
		spec, err := readSpec(args[0], cli.stdin)
		if err != nil {
			return err
		}
		if dryRun {
			return cli.dryRun(cmd.Context(), *format, spec, data, slots)
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			study, err := c.create(ctx, spec)
			if err != nil {
				return err
			}
			if err := cli.writeSubmitted(*format, study); err != nil {
				return err
			}
			if watch {
				return cli.watchStudy(ctx, c, study.GetName())
			}
			return nil
		})
	}
	return cmd
}

// completeSpecs has the shell complete spec files.
func completeSpecs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
}

// create submits a study, once the coordinator can take it. If the coordinator goes away before it has answered, the study
// may be there or not: it is submitted again, and one that is there by then with the same spec is the one.
func (c *client) create(ctx context.Context, spec *trellisv1.StudySpec) (*trellisv1.Study, error) {
	for try := 1; ; try++ {
		study, err := c.createOnce(ctx, spec)
		if status.Code(err) == codes.AlreadyExists && try > 1 {
			existing, getErr := call(ctx, callTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: spec.GetName()})
			if getErr == nil && len(differences(spec, existing.GetStudy().GetSpec())) == 0 {
				return existing.GetStudy(), nil
			}
		}
		if err == nil {
			return study, nil
		}
		if status.Code(err) != codes.Unavailable || try == createTries {
			return nil, fmt.Errorf("cannot submit study %s: %w", spec.GetName(), err)
		}
		select {
		case <-time.After(createPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *client) createOnce(ctx context.Context, spec *trellisv1.StudySpec) (*trellisv1.Study, error) {
	if err := c.awaitLeader(ctx); err != nil {
		return nil, err
	}
	response, err := call(ctx, createTimeout, c.CreateStudy, &trellisv1.CreateStudyRequest{Spec: spec})
	return response.GetStudy(), err
}

// awaitLeader waits until a coordinator that is starting has read its log, and a cluster has elected a leader.
func (c *client) awaitLeader(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, DefaultWait)
	defer cancel()
	for {
		answer, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
		switch {
		case err == nil && (len(answer.GetNodes()) == 0 || leaderOf(answer.GetNodes()) != ""):
			return nil
		case err == nil:
			err = fmt.Errorf("%w: no leader was elected within %v: see trellis cluster status", errUnavailable, DefaultWait)
		case status.Code(err) != codes.Unavailable && ctx.Err() == nil:
			return err
		}
		select {
		case <-time.After(leaderPause):
		case <-ctx.Done():
			if parent.Err() != nil {
				return context.Cause(parent)
			}
			return err
		}
	}
}

// writeSubmitted writes the study's id alone for shells, and the study in the other formats.
func (cli *commandLine) writeSubmitted(format outputFormat, study *trellisv1.Study) error {
	if format != formatTable {
		return writeOne(cli.stdout, format, study, studyColumns)
	}
	_, err := fmt.Fprintln(cli.stdout, study.GetName())
	return err
}
