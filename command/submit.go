package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
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
		for _, flag := range []string{"slots", "data-dir", "cache-dir"} {
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

// create submits a study.
func (c *client) create(ctx context.Context, spec *trellisv1.StudySpec) (*trellisv1.Study, error) {
	response, err := call(ctx, createTimeout, c.CreateStudy, &trellisv1.CreateStudyRequest{Spec: spec})
	if err != nil {
		return nil, fmt.Errorf("cannot submit study %s: %w", spec.GetName(), err)
	}
	return response.GetStudy(), nil
}

// writeSubmitted writes the study's id alone for shells, and the study in the other formats.
func (cli *commandLine) writeSubmitted(format outputFormat, study *trellisv1.Study) error {
	if format != formatTable {
		return writeOne(cli.stdout, format, study, studyColumns)
	}
	_, err := fmt.Fprintln(cli.stdout, study.GetName())
	return err
}
