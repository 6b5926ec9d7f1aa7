package studies

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

func init() { cli.Register(cli.Search, 80, ExtendCommand) }

// ExtendCommand is trellis extend.
func ExtendCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "extend STUDY",
		Short: "Add values to a study's grid, such as more epochs or seeds",
		Long: `Add values to the axes of a study's grid. The study may be running or completed, and keeps its results.

Only what is missing is trained: more epochs continue from the last epoch of the existing runs. The results are bit for
bit those of a study that had the values from the start.`,
		Example: `  trellis extend paper --max-epochs 200
  trellis extend paper --seeds 2,3,4,5 --watch
  trellis extend paper --latent-dim 64,128 --learning-rate 3e-3
  trellis extend denoising --axis noise=0.2,0.4`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	request := new(trellisv1.ExtendStudyRequest)
	for place := range grid.CommonAxes {
		axis := &grid.CommonAxes[place]
		cmd.Flags().Var(axisFlag{axis, request}, strings.ReplaceAll(axis.Field(), "_", "-"),
			output.Plural(describe.Label(axis.GetName()))+" to add")
	}
	cmd.Flags().Var(axesFlag{&request.Axes}, "axis",
		"`name=values` to add to an axis of the study's model; may be repeated")
	watch := cmd.Flags().Bool("watch", false, "follow the study until it ends")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if proto.Equal(request, new(trellisv1.ExtendStudyRequest)) {
			return exit.Usagef("extend needs values to add, for example --max-epochs 200 or --seeds 2,3")
		}
		request.Study = args[0]
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CreateTimeout, c.ExtendStudy, request)
			if err != nil {
				return err
			}
			what := output.Count(response.GetTrials(), "trial") + " added"
			return writeTakenUp(ctx, env, c, *format, response.GetStudy(), what, *watch)
		})
	}
	return cmd
}
