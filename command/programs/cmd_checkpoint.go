package programs

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

func init() { cli.Register(cli.Answers, 85, CheckpointCommand) }

// CheckpointCommand is trellis checkpoint.
func CheckpointCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Download checkpoints",
		Long:  "Download the checkpoints that runs have saved.",
		Args:  cli.UnknownSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(checkpointGetCommand(env))
	return cmd
}

// checkpointOptions are the flags of checkpoint get.
type checkpointOptions struct {
	folder string
	// last says that the last checkpoint is asked for, instead of the best epoch's.
	last bool
}

func checkpointGetCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get STUDY TRIAL",
		Short: "Download a trial's checkpoint into a folder",
		Long: `Download the checkpoint of a trial's best epoch into a folder, which is made if it is not there. With --last, it
is the last one that the trial's run has saved.

Of a program, the folder then has what the program has saved. Of a model, it has one file, from which trellis resumes; for
its weights in a form that others read, see trellis model get.`,
		Example: `  trellis checkpoint get cifar 17 --folder best
  trellis checkpoint get cifar 17 --folder last --last`,
		Args: cli.Operands("STUDY", "TRIAL"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	its := new(checkpointOptions)
	cmd.Flags().StringVar(&its.folder, "folder", "", "`folder` to write to, empty or not there (default STUDY-trial-N)")
	cmd.Flags().BoolVar(&its.last, "last", false, "get the last checkpoint instead of the best epoch's")
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		index, err := parseTrial(args[1])
		if err != nil {
			return err
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return getCheckpoint(ctx, env, c, args[0], index, its)
		})
	}
	return cmd
}

// parseTrial reads the index of a trial.
func parseTrial(text string) (uint64, error) {
	index, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, exit.Usagef("invalid TRIAL %q: must be the index of a trial, as shown by trellis trials", text)
	}
	return index, nil
}

// findTrial returns a trial and its run.
func findTrial(
	ctx context.Context, c *client.Client, study string, index uint64,
) (*trellisv1.Trial, *trellisv1.GetRunResponse, error) {
	trial, err := c.FindTrial(ctx, study, index)
	if err != nil {
		return nil, nil, err
	}
	response, err := client.Call(ctx, client.CallTimeout, c.GetRun,
		&trellisv1.GetRunRequest{Study: study, Run: trial.GetRun()})
	return trial, response, err
}

func getCheckpoint(
	ctx context.Context, env *cli.Environment, c *client.Client, study string, index uint64, options *checkpointOptions,
) error {
	trial, response, err := findTrial(ctx, c, study, index)
	if err != nil {
		return err
	}
	var saved *trellisv1.Checkpoint
	if options.last {
		if saved = trajectory.LastCheckpoint(response.GetRun()); saved == nil {
			return status.Errorf(codes.FailedPrecondition, "the run of trial %d has no checkpoint: it has saved none, or they were deleted", index)
		}
	} else if saved, err = trajectory.BestWeights(response.GetConfig().GetProgram(), trial, response.GetRun()); err != nil {
		return err
	}
	folder := options.folder
	if folder == "" {
		folder = fmt.Sprintf("%s-trial-%d", study, index)
	}
	root, err := openEmptyFolder(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := c.FetchCheckpoint(ctx, saved, root); err != nil {
		return fmt.Errorf("get the checkpoint of trial %d: %w", index, err)
	}
	fmt.Fprintf(env.Err, "Wrote %s (%s): the checkpoint of epoch %d of trial %d (%s).\n", folder,
		output.ShortBytes(saved.GetSize()), saved.GetEpoch(), index,
		describe.Parameters(trial.GetParameters(), describe.Axes{}))
	return nil
}

// openEmptyFolder opens a folder, which it makes if it is not there.
func openEmptyFolder(path string) (*os.Root, error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, exit.Usagef("cannot make the folder %s: %w", path, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, exit.Usagef("cannot read the folder %s: %w", path, err)
	}
	if len(entries) > 0 {
		return nil, exit.Usagef("the folder %s is not empty: choose another with --folder", path)
	}
	return os.OpenRoot(path)
}
