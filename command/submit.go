package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"buf.build/go/protovalidate"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// submitOptions are the flags of submit.
type submitOptions struct {
	createOptions
	watch, dryRun bool
	plan          planOptions
}

// createOptions are the flags of the commands that submit a spec.
type createOptions struct {
	// name replaces the spec's, if it is not empty.
	name string
	// fresh says that nothing is taken over from other studies.
	fresh bool
}

func createFlags(cmd *cobra.Command, options *createOptions) {
	cmd.Flags().StringVar(&options.name, "name", "", "`name` of the study, instead of the spec's")
	cmd.Flags().BoolVar(&options.fresh, "fresh", false, "train everything anew: take over nothing that other studies know")
}

// rename gives a spec the name that the command line has for it.
func (o *createOptions) rename(wanted *trellisv1.StudySpec) error {
	if o.name == "" {
		return nil
	}
	wanted.Name = o.name
	err := validateSpec(wanted)
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		return usageErrorf("--name %s: %s", o.name, invalid.Violations[0].Proto.GetMessage())
	}
	return err
}

func (cli *commandLine) submitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "submit SPEC",
		Short: "Hand a study to the coordinator; print its id",
		Long: `Hand a study to the coordinator, which checks it and spreads its runs over the workers. Prints the study's
id, which is its name. A SPEC of - is read from standard input.

What other studies have trained already is taken over, where it is the same bit for bit: the same data, model, parameters,
seed, batch size, early stopping and arithmetic. What that is, is said on standard error. With --fresh, everything is trained
anew.

With --dry-run, nothing is submitted: the coordinator says what the study would cost, and what of it is known. If there is
none, or with --slots, epochs are counted here, and their time is measured by training on random images for a moment.`,
		Example: `  trellis submit examples/synthetic.yaml
  trellis submit --watch examples/paper.yaml
  trellis submit --name paper-again --fresh examples/paper.yaml
  trellis submit --dry-run examples/paper.yaml
  trellis submit --dry-run --slots 32 examples/paper.yaml`,
		Args:              operands("SPEC"),
		ValidArgsFunction: completeSpecs,
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	submit := submitOptions{plan: planOptions{data: dataFlags(cmd)}}
	createFlags(cmd, &submit.createOptions)
	cmd.Flags().BoolVar(&submit.dryRun, "dry-run", false, "say what the study would cost, and submit nothing")
	cmd.Flags().IntVar(&submit.plan.slots, "slots", 0,
		"with --dry-run: measure on this machine, for so many runs side by side (default, without coordinator: one per core)")
	cmd.Flags().BoolVar(&submit.watch, "watch", false, "follow the study until it has ended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, flag := range []string{"slots", "data-sets", "cache-dir"} {
			if cmd.Flags().Changed(flag) && !submit.dryRun {
				return usageErrorf("--%s belongs to --dry-run: a study is trained on the slots that the workers have, with the "+
					"data sets that the coordinator has", flag)
			}
			submit.plan.here = submit.plan.here || cmd.Flags().Changed(flag)
		}
		if submit.dryRun && submit.watch {
			return usageErrorf("with --dry-run nothing is submitted that --watch could follow")
		}
		spec, err := readSpec(args[0], cli.stdin)
		if err != nil {
			return err
		}
		if err := submit.rename(spec); err != nil {
			return err
		}
		request := &trellisv1.CreateStudyRequest{Spec: spec, Fresh: submit.fresh}
		if submit.dryRun {
			submit.plan.format = *format
			return cli.dryRun(cmd.Context(), options, request, submit.plan)
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			return cli.submit(ctx, c, request, *format, submit.watch)
		})
	}
	return cmd
}

// completeSpecs has the shell complete spec files.
func completeSpecs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
}

// submit creates a study, and says what it has taken over from others.
func (cli *commandLine) submit(
	ctx context.Context, c *client, request *trellisv1.CreateStudyRequest, format outputFormat, watch bool,
) error {
	study, err := c.create(ctx, request)
	if status.Code(err) == codes.AlreadyExists {
		name := request.GetSpec().GetName()
		return fmt.Errorf("%w. Another name, without changing the spec: --name %s-2. To add values to its axes instead: "+
			"trellis extend %s", err, name, name)
	}
	if err != nil {
		return err
	}
	if err := cli.writeSubmitted(format, study); err != nil {
		return err
	}
	cli.describeStart(ctx, c, study)
	if watch {
		return cli.watchStudy(ctx, c, study.GetName(), cli.stderr)
	}
	return nil
}

// describeStart says what a study that has just been submitted or extended has taken over from others, and when it ends.
func (cli *commandLine) describeStart(ctx context.Context, c *client, study *trellisv1.Study) {
	progress := study.GetProgress()
	if sharing := describeSharing(progress, c.sharedFrom(ctx, study)); sharing != "" {
		fmt.Fprintf(cli.stderr, "Study %s: %s; done by that: %d of %s.\n", study.GetName(), sharing, progress.GetRunsSucceeded(),
			count(progress.GetRuns(), "run"))
	}
	if ended(study) {
		fmt.Fprintf(cli.stderr, "Study %s is done at once: %s.\n", study.GetName(), describeProgress(study))
		return
	}
	if end := describeEnd(study.GetForecast(), time.Now()); end != "" {
		fmt.Fprintf(cli.stderr, "Study %s %s.\n", study.GetName(), end)
	}
}

// sharedFrom returns the studies that a study has taken epochs over from, with how many. It is nil if there are none, or if
// the coordinator does not say: the study does not depend on it.
func (c *client) sharedFrom(ctx context.Context, study *trellisv1.Study) map[string]uint64 {
	if study.GetProgress().GetEpochsShared() == 0 {
		return nil
	}
	response, err := call(ctx, callTimeout, c.GetReport, &trellisv1.GetReportRequest{Study: study.GetName()})
	if err != nil {
		return nil
	}
	return response.GetReport().GetSharedFrom()
}

// writeSubmitted writes the study's id alone for shells, and the study in the other formats.
func (cli *commandLine) writeSubmitted(format outputFormat, study *trellisv1.Study) error {
	if format != formatTable {
		return writeOne(cli.stdout, format, study, studyColumns)
	}
	_, err := fmt.Fprintln(cli.stdout, study.GetName())
	return err
}
