package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/trainer"
	"trellis/worker"
)

const (
	// maxCheckpoint bounds what is downloaded of a checkpoint, in bytes. The largest network's has 20 MiB.
	maxCheckpoint = 1 << 30
	// downloadTries is how often a download begins again that has broken off.
	downloadTries = 5
)

func (cli *commandLine) modelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Fetch what has been trained",
		Args:  unknownSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(cli.modelGetCommand())
	return cmd
}

// modelOptions are the flags of model get.
type modelOptions struct {
	output string
	trial  uint64
	// best says that the best trial is asked for, whichever it is.
	best bool
}

func (cli *commandLine) modelGetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get STUDY",
		Short: "Write the weights of a study's best trial, or of another one, as safetensors",
		Long: `Write the weights of a study's best trial, or of the one that --trial names, to a safetensors file. They are those
after the epoch with the trial's lowest validation loss. In PyTorch, a module whose encoder and decoder are built like ours
takes them:

    module.load_state_dict(safetensors.torch.load_file("quick-trial-5.safetensors"))`,
		Example: `  trellis model get quick
  trellis model get quick --trial 5 --output five.safetensors`,
		Args: operands("STUDY"),
	}
	options := clientFlags(cmd, DefaultWait)
	model := new(modelOptions)
	cmd.Flags().StringVarP(&model.output, "output", "o", "",
		"`file` to write, - for standard output (default STUDY-trial-N.safetensors)")
	cmd.Flags().Uint64Var(&model.trial, "trial", 0, "index of the trial, as trials lists it (default the best one)")
	cmd.ValidArgsFunction = completeStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		model.best = !cmd.Flags().Changed("trial")
		if terminal, ok := cli.stdout.(*os.File); model.output == "-" && ok && isTerminalFile(terminal) {
			return usageErrorf("weights are nothing to read: send standard output to a file, or give a file")
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			return cli.getModel(ctx, c, args[0], model)
		})
	}
	return cmd
}

// getModel writes a trial's weights.
func (cli *commandLine) getModel(ctx context.Context, c *client, study string, options *modelOptions) error {
	trial, err := c.findTrial(ctx, study, options)
	if err != nil {
		return err
	}
	response, err := call(ctx, callTimeout, c.GetRun, &trellisv1.GetRunRequest{Study: study, Run: trial.GetRun()})
	if err != nil {
		return err
	}
	if response.GetConfig().GetModel() == trainer.Synthetic {
		return fmt.Errorf("trial %d has no weights: the synthetic model is a formula", trial.GetIndex())
	}
	saved, err := results.BestWeights(trial, response.GetRun())
	if err != nil {
		return err
	}
	checkpoint, err := c.loadCheckpoint(ctx, saved)
	if err != nil {
		return fmt.Errorf("the weights of trial %d: %w", trial.GetIndex(), err)
	}
	path := options.output
	if path == "" {
		path = fmt.Sprintf("%s-trial-%d.safetensors", study, trial.GetIndex())
	}
	size, err := writeOutput(path, 0o666, cli.stdout, func(out io.Writer) error {
		return trainer.WriteModel(out, worker.TrainerConfig(response.GetConfig()), checkpoint)
	})
	if err != nil {
		return err
	}
	if path == "-" {
		path = "standard output"
	}
	fmt.Fprintf(cli.stderr, "Wrote %s (%s): trial %d (%s), with the validation loss %s of epoch %d.\n", path,
		shortBytes(uint64(size)), trial.GetIndex(), describeParameters(trial.GetParameters(), axes{}),
		shortLoss(trial.GetObjective()), trial.GetBestEpoch())
	return nil
}

// findTrial returns the trial that is asked for.
func (c *client) findTrial(ctx context.Context, study string, options *modelOptions) (*trellisv1.Trial, error) {
	if options.best {
		best, err := call(ctx, callTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: study})
		return best.GetTrial(), err
	}
	response, err := call(ctx, callTimeout, c.ListTrials, &trellisv1.ListTrialsRequest{
		Study: study, Filter: fmt.Sprintf("index == %d", options.trial), PageSize: 1,
	})
	if err != nil {
		return nil, err
	}
	if len(response.GetTrials()) == 0 {
		return nil, usageErrorf("study %s has no trial %d: see trellis trials %s", study, options.trial, study)
	}
	return response.GetTrials()[0], nil
}

// loadCheckpoint downloads a checkpoint and decodes it. A download that breaks off begins again.
func (c *client) loadCheckpoint(ctx context.Context, saved *trellisv1.Checkpoint) (*trainer.Checkpoint, error) {
	var data []byte
	var err error
	for try := 1; ; try++ {
		data, err = c.downloadArtifact(ctx, saved)
		if err == nil || try == downloadTries || !breaksOff(err) {
			break
		}
	}
	if status.Code(err) == codes.NotFound {
		return nil, fmt.Errorf("%w. Their checkpoint is not where the coordinator keeps checkpoints now: is --artifacts what it "+
			"was when they were trained, and the same for all nodes?", err)
	}
	if err != nil {
		return nil, err
	}
	checkpoint := new(trainer.Checkpoint)
	if err := checkpoint.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	return checkpoint, nil
}

// downloadArtifact returns the content of an artifact, which is what its digest says.
func (c *client) downloadArtifact(ctx context.Context, saved *trellisv1.Checkpoint) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if saved.GetSize() > maxCheckpoint {
		return nil, fmt.Errorf("a checkpoint of %s is larger than any that we know", shortBytes(saved.GetSize()))
	}
	stream, err := c.DownloadArtifact(ctx, &trellisv1.DownloadArtifactRequest{Sha256: saved.GetSha256()})
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if uint64(content.Len()+len(response.GetData())) > saved.GetSize() {
			return nil, fmt.Errorf("checkpoint %s is longer than the %d bytes that it had", saved.GetSha256(), saved.GetSize())
		}
		content.Write(response.GetData())
	}
	if sum := sha256.Sum256(content.Bytes()); hex.EncodeToString(sum[:]) != saved.GetSha256() {
		return nil, fmt.Errorf("checkpoint %s is damaged: its %d bytes have the digest %x", saved.GetSha256(), content.Len(), sum)
	}
	return content.Bytes(), nil
}
