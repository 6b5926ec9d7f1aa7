package studies

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// writeTakenUp says what has become of a study that has more to do now, and follows it if it is to be watched.
func writeTakenUp(
	ctx context.Context, env *cli.Environment, c *client.Client, format output.Format, study *trellisv1.Study,
	what string, watch bool,
) error {
	var err error
	if format == output.Table {
		_, err = fmt.Fprintf(env.Out, "Study %s is %s, with %s: %s.\n", study.GetName(), describe.StudyState(study),
			what,
			describe.Progress(study))
	} else {
		err = output.WriteOne(env.Out, format, study, describe.StudyColumns)
	}
	if err == nil && watch {
		return WatchStudy(ctx, env, c, study.GetName(), env.Err)
	}
	return err
}

// studyCommand is a command that changes a study's state and prints what has become of it.
func studyCommand(env *cli.Environment,
	name, short string, change func(context.Context, *client.Client, string) (*trellisv1.Study, error),
) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " STUDY",
		Short: short,
		Args:  cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			study, err := change(ctx, c, args[0])
			if err != nil {
				return err
			}
			if *format == output.Table {
				_, err := fmt.Fprintf(env.Out, "Study %s is %s: %s.\n", study.GetName(), describe.StudyState(study),
					describe.Progress(study))
				return err
			}
			return output.WriteOne(env.Out, *format, study, describe.StudyColumns)
		})
	}
	return cmd
}
