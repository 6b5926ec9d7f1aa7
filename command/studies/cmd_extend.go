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
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

func init() { cli.Register(cli.Search, 80, ExtendCommand) }

// seeds are what every study has besides the axes of its grids.
var seeds = &trellisv1.ModelAxis{Name: grid.Seeds, Kind: trellisv1.Kind_KIND_INTEGER}

// ExtendCommand is trellis extend.
func ExtendCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "extend STUDY",
		Short: "Add values to a study's grid, such as more epochs or seeds, or raise its budget",
		Long: `Add values to the axes of a study's grid, or raise its budget. The study may be running or completed, and
keeps its results.

Only what is missing is trained: more epochs continue from the last epoch of the existing runs. The results are bit for
bit those of a study that had the values, or the budget, from the start.

A larger budget of trials or epochs goes on where the study ended, in its order. More time lets runs begin that were not
trained because the time was over. What --budget does not name stays as it is; --budget none trains the whole grid.

A grid of which the budget trains a part takes values together with a larger budget: the order goes on over the larger
grid, without what was trained.

With --dry-run, nothing is added: the coordinator shows what the extension would cost.`,
		Example: `  trellis extend paper --max-epochs 200
  trellis extend paper --max-epochs 200 --dry-run
  trellis extend paper --seeds 2,3,4,5 --watch
  trellis extend paper --latent-dim 64,128 --learning-rate 3e-3
  trellis extend denoising --add noise=0.2,0.4
  trellis extend search --budget trials=1000,time=12h
  trellis extend search --add lr=0.3 --budget trials=2000`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	request := new(trellisv1.ExtendStudyRequest)
	for _, axis := range append(spec.AllAxes(), seeds) {
		usage := output.Plural(describe.Label(strings.TrimSuffix(axis.GetName(), "s"))) + " to add"
		if !axis.GetCommon() && axis != seeds && axis.GetName() != grid.MaxEpochs {
			usage = "values of " + describe.Label(axis.GetName()) + " to add, which some models have"
		}
		cmd.Flags().Var(axisFlag{axis, func() *trellisv1.Axis {
			if axis != seeds {
				return axisOf(request, axis.GetName())
			}
			if request.Seeds == nil {
				request.Seeds = new(trellisv1.Axis)
			}
			return request.Seeds
		}}, strings.ReplaceAll(axis.GetName(), "_", "-"), usage)
	}
	cmd.Flags().Var(axesFlag{request}, "add", "`name=values` to add to any axis of the study; may be repeated")
	cmd.Flags().Var(axesFlag{request}, "axis", "`name=values` to add to any axis of the study; may be repeated")
	if err := cmd.Flags().MarkHidden("axis"); err != nil {
		panic(err) // There is no such flag.
	}
	cmd.Flags().Var(budgetFlag{request}, "budget", "larger `limits`: trials=1000, epochs=20000, time=12h, or none")
	dryRun := cmd.Flags().Bool("dry-run", false, "show what the extension would cost without extending the study")
	watch := cmd.Flags().Bool("watch", false, "follow the study until it ends")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if proto.Equal(request, new(trellisv1.ExtendStudyRequest)) {
			return exit.Usagef("extend needs values to add, for example --max-epochs 200 or --seeds 2,3, or a larger " +
				"--budget")
		}
		if *dryRun && *watch {
			return exit.Usagef("--watch cannot be combined with --dry-run, which adds nothing")
		}
		request.Study = args[0]
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			if *dryRun {
				return byFlags(cmd, planExtension(ctx, env.Out, c, *format, request))
			}
			response, err := client.Call(ctx, client.CreateTimeout, c.ExtendStudy, request)
			if err != nil {
				return byFlags(cmd, err)
			}
			what := output.Count(response.GetTrials(), "trial") + " added"
			if request.GetBudget().GetTime() != nil && response.GetTrials() == 0 {
				what = "more time"
			}
			return writeTakenUp(ctx, env, c, *format, response.GetStudy(), what, *watch)
		})
	}
	return cmd
}
