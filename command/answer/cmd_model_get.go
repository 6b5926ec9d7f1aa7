package answer

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/onnx"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
	"trellis/trainer"
	"trellis/worker"
)

// Formats of model files, which are also the ends of their names.
const (
	formatSafetensors = "safetensors"
	formatONNX        = "onnx"
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
		Long: `Download the weights of a study's best trial, or of the trial given by --trial, as a safetensors or ONNX file. The
weights are those of the epoch with the trial's best objective: its lowest validation loss, unless the spec names another.

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
	model := new(modelOptions)
	cmd.Flags().StringVarP(&model.file, "file", "f", "",
		"`file` to write, - for standard output (default STUDY-trial-N.safetensors or .onnx)")
	model.format = cli.ChoiceFlag(cmd, "format", "format of the file", formatSafetensors, formatONNX)
	cmd.Flags().Uint64Var(&model.trial, "trial", 0, "index of the trial, as shown by trellis trials (default the "+
		"best trial)")
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		model.best = !cmd.Flags().Changed("trial")
		if terminal, ok := env.Out.(*os.File); model.file == "-" && ok && output.IsTerminalFile(terminal) {
			return exit.Usagef("cannot write weights to a terminal: redirect standard output or use --file")
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return getModel(ctx, env, c, args[0], model)
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
	response, err := client.Call(ctx, client.CallTimeout, c.GetRun,
		&trellisv1.GetRunRequest{Study: study, Run: trial.GetRun()})
	if err != nil {
		return err
	}
	if response.GetConfig().GetModel() == trainer.Synthetic {
		return fmt.Errorf("trial %d has no weights: the synthetic model is a formula", trial.GetIndex())
	}
	saved, err := trajectory.BestWeights(trial, response.GetRun())
	if err != nil {
		return err
	}
	checkpoint, err := c.LoadCheckpoint(ctx, saved)
	if err != nil {
		return fmt.Errorf("get the weights of trial %d: %w", trial.GetIndex(), err)
	}
	path := options.file
	if path == "" {
		path = fmt.Sprintf("%s-trial-%d.%s", study, trial.GetIndex(), *options.format)
	}
	size, err := output.WriteFile(path, 0o666, env.Out, func(out io.Writer) error {
		return writeModel(out, *options.format, env.Version, worker.TrainerConfig(response.GetConfig()), checkpoint,
			map[string]string{
				"study": study, "trial": strconv.FormatUint(trial.GetIndex(), 10), "run": trial.GetRun(),
				"checkpoint": saved.GetSha256(),
			})
	})
	if err != nil {
		return err
	}
	if path == "-" {
		path = "standard output"
	}
	ranked := describe.ObjectiveIn(response.GetConfig())
	fmt.Fprintf(env.Err, "Wrote %s (%s): trial %d (%s), %s %s%s at epoch %d.\n", path,
		output.ShortBytes(uint64(size)), trial.GetIndex(), describe.Parameters(trial.GetParameters(), describe.Axes{}),
		ranked.Name(), output.ShortLoss(trial.GetObjective()), ranked.Note(), trial.GetBestEpoch())
	return nil
}

// writeModel writes a network in one of the formats.
func writeModel(
	out io.Writer, format, version string, config trainer.Config, checkpoint *trainer.Checkpoint, origin map[string]string,
) error {
	if format == formatSafetensors {
		return trainer.WriteModel(out, config, checkpoint, origin)
	}
	inference, err := trainer.NewInference(config, checkpoint)
	if err != nil {
		return err
	}
	return onnx.Write(out, inference, trainer.ModelMetadata(config, checkpoint, origin), version)
}

// findTrial returns the trial that is asked for.
func findTrial(ctx context.Context, c *client.Client, study string, options *modelOptions) (*trellisv1.Trial, error) {
	if options.best {
		best, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: study})
		return best.GetTrial(), err
	}
	return c.FindTrial(ctx, study, options.trial)
}
