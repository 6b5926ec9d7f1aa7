package answer

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/model"
	"trellis/command/output"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
)

// modelOptions are the flags of model get.
type modelOptions struct {
	file   string
	format *string
	trial  uint64
	// best says that the best trial is asked for, whichever it is.
	best bool
}

func modelGetCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get STUDY",
		Short: "Download a trial's weights as a safetensors or ONNX file",
		Long: `Download the weights of a study's best trial, or of the trial given by --trial, as a safetensors or ONNX
file. The weights are those of the epoch with the trial's best objective: its lowest validation loss, unless the spec
names another.

safetensors has the weights alone. In PyTorch, load them into a module with the same encoder and decoder:

    module.load_state_dict(safetensors.torch.load_file("quick-trial-5.safetensors"))

onnx has the whole network, for onnxruntime and others:

    code, reconstruction = onnxruntime.InferenceSession("quick-trial-5.onnx").run(None, {"images": images})`,
		Example: `  trellis model get quick
  trellis model get quick --format onnx
  trellis model get quick --trial 5 --file five.safetensors`,
		Args: cli.Operands("STUDY"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	its := new(modelOptions)
	cmd.Flags().StringVarP(&its.file, "file", "f", "",
		"`file` to write, - for standard output (default STUDY-trial-N.safetensors or .onnx)")
	its.format = cli.ChoiceFlag(cmd, "format", "format of the file", model.Safetensors, model.ONNX)
	cmd.Flags().Uint64Var(&its.trial, "trial", 0, "index of the trial, as shown by trellis trials (default the "+
		"best trial)")
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		its.best = !cmd.Flags().Changed("trial")
		if terminal, ok := env.Out.(*os.File); its.file == "-" && ok && output.IsTerminalFile(terminal) {
			return exit.Usagef("cannot write weights to a terminal: redirect standard output or use --file")
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return getModel(ctx, env, c, args[0], its)
		})
	}
	return cmd
}

// getModel writes a trial's weights.
func getModel(ctx context.Context, env *cli.Environment, c *client.Client, study string, options *modelOptions) error {
	trial, err := findTrial(ctx, c, study, options)
	if err != nil {
		return err
	}
	trained, err := model.Fetch(ctx, c, trial)
	if err != nil {
		return err
	}
	path := options.file
	if path == "" {
		path = fmt.Sprintf("%s-trial-%d.%s", study, trial.GetIndex(), *options.format)
	}
	size, err := output.WriteFile(path, 0o666, env.Out, func(out io.Writer) error {
		return trained.Write(out, *options.format, env.Version)
	})
	if err != nil {
		return err
	}
	if path == "-" {
		path = "standard output"
	}
	ranked := describe.ObjectiveIn(trained.Config)
	known := spec.Models().Find(trained.Config.GetModel())
	shape := describe.Axes{OneShape: describe.HasDefaultShape(trial.GetParameters(), known)}
	fmt.Fprintf(env.Err, "Wrote %s (%s): trial %d (%s), %s %s%s at epoch %d.\n", path,
		output.ShortBytes(uint64(size)), trial.GetIndex(), describe.Parameters(trial.GetParameters(), shape),
		ranked.Name(), output.ShortLoss(trial.GetObjective()), ranked.Note(), trial.GetBestEpoch())
	return nil
}

// findTrial returns the trial that is asked for.
func findTrial(ctx context.Context, c *client.Client, study string, options *modelOptions) (*trellisv1.Trial, error) {
	if options.best {
		best, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: study})
		return best.GetTrial(), err
	}
	return c.FindTrial(ctx, study, options.trial)
}
