package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"trellis/command/reproduction"
	"trellis/examples"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer/dataset"
)

// reproduceOptions are the flags of reproduce.
type reproduceOptions struct {
	// output is the folder of report and figures.
	output string
	// command is the one that goes on with this reproduction.
	command string
	// remote says that the studies are trained by the cluster of a coordinator that is there already.
	remote bool
	runOptions
}

func (cli *commandLine) reproduceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reproduce [FILE]",
		Short: "Reproduce the paper: all its studies, figures and numbers, in one report",
		Long: `Reproduce the paper: grid search of the autoencoder, then the studies that take its best values (denoising, classifier,
variational autoencoder), latent-space analysis, figures, and a report with the paper's numbers beside ours.

FILE says which studies, and how they depend on one another; without it, it is examples/reproduce.yaml, or with --quick
examples/reproduce-quick.yaml: all of it small, in minutes.

Everything is kept in a folder: studies in its folder data, figures as PNG and SVG, and report.html. After Ctrl-C or a crash,
the same command goes on where it was; what has failed, it takes up again. With --coordinator, the studies are trained by the
workers of a cluster.`,
		Example: `  trellis reproduce --quick
  trellis reproduce
  trellis reproduce --coordinator host:7070 --output paper`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return operands("FILE")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: completeSpecs,
	}
	options := reproduceOptions{runOptions: runOptions{localOptions: localOptions{data: dataFlags(cmd), version: cli.version}}}
	coordinator := clientFlags(cmd, DefaultWait)
	log := logFlags(cmd, slog.LevelError+1)
	var quick bool
	cmd.Flags().BoolVar(&quick, "quick", false, "all of it small")
	cmd.Flags().StringVarP(&options.output, "output", "o", "",
		"`folder` of everything (default reproduction, or reproduction-quick)")
	cmd.Flags().IntVar(&options.workers, "workers", 1, "workers to start")
	cmd.Flags().IntVar(&options.slots, "slots", 0,
		"runs that a worker trains side by side (default the cores divided by the workers)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if quick && len(args) > 0 {
			return usageErrorf("--quick is a reproduction of its own: leave out %s", args[0])
		}
		r, err := readReproduction(args, quick, cli)
		if err != nil {
			return err
		}
		if options.output == "" {
			options.output = "reproduction"
			if quick {
				options.output += "-quick"
			}
		}
		if options.workers < 1 || options.slots < 0 {
			return usageErrorf("--workers and --slots take numbers from 1 up")
		}
		if options.slots == 0 {
			options.slots = max(1, runtime.GOMAXPROCS(0)/options.workers)
		}
		if err := makeOutput(options.output); err != nil {
			return err
		}
		options.command = reproduceCommand(quick, args)
		options.logger = log.newLogger(cli.stderr)
		options.inLines = cmd.Flags().Changed("log-level")
		if cmd.Flags().Changed("coordinator") || os.Getenv(addressVariable) != "" {
			options.remote = true
			options.directory = dataDirectory{path: coordinator.address, found: true, flag: "--coordinator"}
			return cli.withClient(cmd.Context(), coordinator, func(ctx context.Context, c *client) error {
				return cli.reproduce(ctx, c, r, options)
			})
		}
		if options.directory, err = openDataDirectory(filepath.Join(options.output, "data")); err != nil {
			return err
		}
		options.directory.flag = "--output"
		return cli.reproduceHere(cmd.Context(), r, options)
	}
	return cmd
}

// makeOutput makes the folder of a reproduction, and tries it out: that nothing can be written there must be known before hours
// of training, not after.
func makeOutput(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return fmt.Errorf("make the folder of the reproduction: %w: give another one with --output", err)
	}
	file, err := os.CreateTemp(path, ".trellis-")
	if err != nil {
		return fmt.Errorf("write to the folder of the reproduction: %w: give another one with --output", err)
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// reproduceCommand is the command of a reproduction, without what has no influence on its numbers.
func reproduceCommand(quick bool, args []string) string {
	switch {
	case quick:
		return "trellis reproduce --quick"
	case len(args) > 0:
		return "trellis reproduce " + args[0]
	default:
		return "trellis reproduce"
	}
}

// readReproduction reads the file that is named, or one of those that are built in.
func readReproduction(args []string, quick bool, cli *commandLine) (*trellisv1.Reproduction, error) {
	r := new(trellisv1.Reproduction)
	if len(args) > 0 {
		path, data, err := readSpecFile(args[0], cli.stdin)
		if err != nil {
			return nil, err
		}
		return r, parseInto(knownModels(), path, data, r)
	}
	name, data := "reproduce.yaml", examples.Reproduce
	if quick {
		name, data = "reproduce-quick.yaml", examples.ReproduceQuick
	}
	return r, parseInto(knownModels(), name, data, r)
}

// reproduceHere starts a cluster in this process for the studies.
func (cli *commandLine) reproduceHere(parent context.Context, r *trellisv1.Reproduction, options reproduceOptions) (err error) {
	ctx, stop := interruptible(parent)
	defer stop()
	cluster, err := startCluster(ctx, options.localOptions)
	if err != nil {
		return err
	}
	defer cluster.stop()
	c, err := newClient(cluster.address, cli.stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.connect(cluster.ctx, DefaultWait); err != nil {
		return cluster.why(err)
	}
	if err := cluster.startWorkers(options.localOptions); err != nil {
		return err
	}
	fmt.Fprintf(cli.stderr, "The coordinator listens on %s. Look in from elsewhere: trellis studies --coordinator %s\n",
		cluster.address, cluster.address)
	if err := cli.reproduce(cluster.ctx, c, r, options); err != nil {
		return cluster.why(err)
	}
	return nil
}

// reproduce trains the studies, and writes what is made of them.
func (cli *commandLine) reproduce(
	ctx context.Context, c *client, r *trellisv1.Reproduction, options reproduceOptions,
) error {
	err := cli.reproduceStages(ctx, c, r, options)
	switch {
	case errors.Is(err, errInterrupted) || errors.Is(context.Cause(ctx), errInterrupted):
		fmt.Fprintln(cli.stderr, "Interrupted. The same command goes on from here.")
	case errors.Is(err, errIncomplete):
		return fmt.Errorf("%w; %s", err, options.whereToAsk())
	}
	return err
}

func (cli *commandLine) reproduceStages(
	ctx context.Context, c *client, r *trellisv1.Reproduction, options reproduceOptions,
) error {
	var data *dataset.Data
	if analysis := r.GetAnalysis(); analysis != nil {
		// That its images are missing must be known before hours of training, not after.
		var err error
		if data, err = loadDataSet(ctx, options.data, dataOf(r, analysis.GetAutoencoder())); err != nil {
			return fmt.Errorf("the analysis needs the test images here: %w", err)
		}
	}
	studies, err := cli.runStages(ctx, c, r, options)
	if err != nil || r.GetAnalysis() == nil {
		return err
	}
	return cli.writeReproduction(ctx, c, r, studies, data, options)
}

// dataOf is the data set of the stage with that study.
func dataOf(r *trellisv1.Reproduction, study string) string {
	for _, stage := range r.GetStages() {
		if stage.GetStudy().GetName() == study {
			return stage.GetStudy().GetData()
		}
	}
	return ""
}

// whereToAsk says which coordinator answers commands on the studies.
func (o *reproduceOptions) whereToAsk() string {
	if o.remote {
		return "commands on the studies take --coordinator " + o.directory.path
	}
	return "commands on the studies ask a coordinator that has them: trellis coordinator --data " +
		filepath.Join(o.output, "data")
}

// runStages trains the studies, each as soon as those that it depends on have ended, and returns them by name.
func (cli *commandLine) runStages(
	ctx context.Context, c *client, r *trellisv1.Reproduction, options reproduceOptions,
) (map[string]*trellisv1.Study, error) {
	ended := map[string]*trellisv1.Study{}
	await := func(name string) error {
		if ended[name] != nil {
			return nil
		}
		study, err := cli.showProgress(ctx, c, name, options.inLines)
		if err != nil {
			return err
		}
		if err := outcomeOf(study); err != nil {
			return err
		}
		ended[name] = study
		return nil
	}
	for i, stage := range r.GetStages() {
		for _, name := range reproduction.DependsOn(stage) {
			if err := await(name); err != nil {
				return nil, err
			}
		}
		var best *trellisv1.Parameters
		if stage.GetBestOf() != "" {
			answer, err := call(ctx, callTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: stage.GetBestOf()})
			if err != nil {
				return nil, err
			}
			best = answer.GetTrial().GetParameters()
		}
		spec := reproduction.Complete(stage, best)
		fmt.Fprintf(cli.stderr, "Stage %d of %d: study %s, %s.\n", i+1, len(r.GetStages()), spec.GetName(), spec.GetModel())
		if err := cli.begin(ctx, c, &trellisv1.CreateStudyRequest{Spec: spec}, options.directory); err != nil {
			return nil, err
		}
		if err := cli.retryFailed(ctx, c, spec.GetName()); err != nil {
			return nil, err
		}
	}
	for _, stage := range r.GetStages() {
		if err := await(stage.GetStudy().GetName()); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// retryFailed takes up again what has failed in a study that has ended, from the last checkpoints.
func (cli *commandLine) retryFailed(ctx context.Context, c *client, name string) error {
	study, err := call(ctx, callTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: name})
	if err != nil {
		return err
	}
	if study.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
		study.GetStudy().GetProgress().GetTrialsFailed() == 0 {
		return nil
	}
	taken, err := call(ctx, createTimeout, c.RetryStudy, &trellisv1.RetryStudyRequest{Study: name})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cli.stderr, "Study %s: %s taken up again.\n", name, count(taken.GetRuns(), "failed run"))
	return err
}
