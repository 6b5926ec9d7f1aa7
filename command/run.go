package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// rankedRows is how many trials run shows when a study has ended.
const rankedRows = 10

// runOptions are the flags of run.
type runOptions struct {
	localOptions
	format outputFormat
	// inLines shows progress in lines on a terminal too, between those of the log.
	inLines bool
	createOptions
}

func (cli *commandLine) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run SPEC...",
		Short: "Run studies from start to end on this machine: coordinator, workers and progress in one process",
		Long: `Run studies from start to end on this machine: coordinator, workers and progress in one process.
Ends with the ranked trials, the best of them, and an account of what it took. A SPEC of - is read from standard input.

Progress goes to standard error, results to standard output. Ctrl-C ends the studies and shows what they have found until
then. Without --data, that is all that is left of them: save it with -o.

With --data, studies are kept in a folder. After Ctrl-C or a crash, the same command goes on where it was; once a study has
ended, it shows the results again. What the studies in the folder have trained already is taken over, where it is the same bit
for bit; with --fresh, everything is trained anew.

With --dry-run, nothing is trained: it says what the studies would cost on this machine, whatever is known already.`,
		Example: `  trellis run examples/quick.yaml
  trellis run --workers 2 -o csv examples/quick.yaml > trials.csv
  trellis run --data studies examples/paper.yaml
  trellis run --dry-run examples/paper.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return operands("SPEC")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: completeSpecs,
	}
	format := outputFlag(cmd)
	log := logFlags(cmd, slog.LevelError+1)
	options := runOptions{localOptions: localOptions{data: dataFlags(cmd), version: cli.version}}
	var data string
	cmd.Flags().StringVar(&data, "data", "", "`folder` in which studies are kept, to go on another time (default in memory only)")
	createFlags(cmd, &options.createOptions)
	var dryRun bool
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what the studies would cost, and train nothing")
	cmd.Flags().IntVar(&options.workers, "workers", 1, "workers to start")
	cmd.Flags().IntVar(&options.slots, "slots", 0,
		"runs that a worker trains side by side (default the cores divided by the workers)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		specs, err := readSpecs(args, cli.stdin)
		if err != nil {
			return err
		}
		if options.name != "" && len(specs) > 1 {
			return usageErrorf("--name names one study: give it one SPEC")
		}
		if err := options.rename(specs[0]); err != nil {
			return err
		}
		if options.workers < 1 || options.slots < 0 {
			return usageErrorf("--workers and --slots take numbers from 1 up")
		}
		if options.slots == 0 {
			options.slots = max(1, runtime.GOMAXPROCS(0)/options.workers)
		}
		if dryRun {
			plan := planOptions{
				format: *format, data: options.data, slots: options.workers * options.slots, here: true,
			}
			return cli.planAll(cmd.Context(), specs, plan)
		}
		if cmd.Flags().Changed("data") && data == "" {
			return usageErrorf("--data takes a folder")
		}
		if options.directory, err = openDataDirectory(data); err != nil {
			return err
		}
		options.format = *format
		options.logger = log.newLogger(cli.stderr)
		options.inLines = cmd.Flags().Changed("log-level")
		return cli.runStudies(cmd.Context(), specs, options)
	}
	return cmd
}

// planAll writes what studies would cost, each by itself.
func (cli *commandLine) planAll(ctx context.Context, specs []*trellisv1.StudySpec, plan planOptions) error {
	if len(specs) > 1 && plan.format != formatTable {
		return usageErrorf("--dry-run writes %s for one SPEC at a time", plan.format)
	}
	for _, spec := range specs {
		if err := cli.dryRun(ctx, nil, &trellisv1.CreateStudyRequest{Spec: spec}, plan); err != nil {
			return err
		}
	}
	return nil
}

// runStudies starts a cluster in this process, and ends it when the studies have ended.
func (cli *commandLine) runStudies(
	parent context.Context, specs []*trellisv1.StudySpec, options runOptions,
) (err error) {
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
	for _, spec := range specs {
		request := &trellisv1.CreateStudyRequest{Spec: spec, Fresh: options.fresh}
		if err := cli.begin(cluster.ctx, c, request, options.directory); err != nil {
			return cluster.why(err)
		}
	}
	// Only now: what a run that several studies ask for is tested at depends on who has asked before it is trained. So the same
	// specs give the same results, whoever is faster.
	if err := cluster.startWorkers(options.localOptions); err != nil {
		return err
	}
	if err := cli.describeOthers(cluster.ctx, c, specs, options.directory); err != nil {
		return cluster.why(err)
	}
	fmt.Fprintf(cli.stderr, "The coordinator listens on %s, with %s of %s. Look in from elsewhere: trellis trials %s "+
		"--coordinator %s\n", cluster.address, count(uint64(options.workers), "worker"), count(uint64(options.slots), "slot"),
		specs[0].GetName(), cluster.address)
	return cli.followAll(cluster, c, specs, options)
}

// describeInterruption says what is left of studies after Ctrl-C.
func describeInterruption(directory dataDirectory) string {
	if directory.path != "" {
		return fmt.Sprintf("Interrupted. The same command goes on from here: what has been found is in %s.", directory.path)
	}
	return "Interrupted. Studies of trellis run end with it: what follows is all that is left. To go on another time, run them " +
		"with --data"
}

// followAll follows the studies to their end, one after the other as the coordinator serves them, and shows what they
// have found.
func (cli *commandLine) followAll(cluster *cluster, c *client, specs []*trellisv1.StudySpec, options runOptions) error {
	complete := make([]*trellisv1.StudySpec, len(specs))
	for i, wanted := range specs {
		complete[i] = knownModels().WithDefaults(wanted)
	}
	results := newTrialList(cli.stdout, options.format, trialColumnsWith(ownAxes(complete...)))
	results.whole = len(specs) > 1
	var outcomes []error
	interrupted := false
	for _, spec := range specs {
		if !interrupted {
			study, err := cli.showProgress(cluster.ctx, c, spec.GetName(), options.inLines)
			switch interrupted = errors.Is(err, errInterrupted); {
			case interrupted:
				fmt.Fprintln(cli.stderr, describeInterruption(options.directory))
				outcomes = append(outcomes, err)
			case err != nil:
				return cluster.why(err)
			default:
				outcomes = append(outcomes, outcomeOf(study))
			}
		}
		// The cluster lives until we stop it, whether or not we were interrupted.
		ctx := context.WithoutCancel(cluster.ctx)
		if err := cli.writeResults(ctx, c, spec.GetName(), options.format, results); err != nil {
			return errors.Join(append(outcomes, cluster.why(err))...)
		}
	}
	if options.format != formatTable {
		outcomes = append(outcomes, results.Close(""))
	}
	return errors.Join(outcomes...)
}

// writeResults writes a study's trials, best first: all of them with their losses into list, or the first few and the
// best one as tables.
func (cli *commandLine) writeResults(
	ctx context.Context, c *client, name string, format outputFormat, list *trialList,
) error {
	request := &trellisv1.ListTrialsRequest{Study: name, OrderBy: "objective"}
	if format != formatTable {
		request.Losses = format != formatCSV
		_, err := c.eachTrial(ctx, request, 0, list)
		return err
	}
	best, err := call(ctx, callTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: name})
	if isUnanswered(err) {
		_, err := fmt.Fprintf(cli.stdout, "Study %s has no answer: no trial has been trained.\n", name)
		return err
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(cli.stdout, "\nStudy %s, best trials first:\n\n", name)
	total, err := cli.listTrials(ctx, c, format, request, rankedRows)
	if err != nil {
		return err
	}
	if total > rankedRows {
		fmt.Fprintf(cli.stdout, "(%d of %d. All of them: -o csv)\n", rankedRows, total)
	}
	fmt.Fprintln(cli.stdout)
	if err := writeBest(cli.stdout, best); err != nil {
		return err
	}
	return c.writeSummary(ctx, cli.stdout, name)
}

// writeSummary writes how the points of a study's grid were answered and what that took, with an empty line before it. A
// coordinator that gives no reports is an older one.
func (c *client) writeSummary(ctx context.Context, out io.Writer, study string) error {
	response, err := call(ctx, callTimeout, c.GetReport, &trellisv1.GetReportRequest{Study: study})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil
	case err != nil:
		return err
	}
	fmt.Fprintln(out)
	return writeSummary(out, response.GetReport())
}
